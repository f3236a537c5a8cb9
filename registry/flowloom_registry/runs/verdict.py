"""How good samples are, between a baseline and what real data scores: in numbers, and in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flowloom_registry.pages.table import number

__all__ = ["beats", "standing", "verdict"]

Columns = Mapping[str, Mapping[str, float | None]]


def standing(value: float | None, floor: float | None, baseline: float | None) -> float | None:
    """Where a value lies on the way from baseline (0) to floor (1); None where that is no way.

    Args:
        value: of samples.
        floor: of real training data.
        baseline: of a model that must be beaten.
    """
    if value is None or floor is None or baseline is None or floor == baseline:
        return None
    place = (value - baseline) / (floor - baseline)
    return place if math.isfinite(place) else None


def beats(one: float | None, other: float | None, better: str) -> bool:
    """Whether a value is better than another; what cannot be compared is not."""
    if one is None or other is None or better not in ("lower", "higher"):
        return False
    return one < other if better == "lower" else one > other


def verdict(evaluation: Mapping[str, Any], *, samples: str, floor: str, baseline: str) -> str:
    """One sentence about samples against training data and the baseline; empty where nothing was compared.

    Args:
        evaluation: as ``evaluation.json`` holds it.
        samples: name of the column of samples.
        floor: name of the column of training data.
        baseline: name of the column of the baseline.
    """
    columns, better = evaluation.get("columns", {}), evaluation.get("better", {})
    ours = columns.get(samples, {})
    names = [name for name in ours if name in better and ours[name] is not None]
    if not names:
        return _of_scores(evaluation, samples)
    parts = []
    for column, words in ((baseline, f"better than the {baseline} on"), (floor, f"as good as {floor} on")):
        theirs = columns.get(column, {})
        shared = [name for name in names if theirs.get(name) is not None]
        if shared:
            # To be as good as real data is not to be worse; to beat a baseline is to be better.
            if column == floor:
                good = sum(not beats(theirs[n], ours[n], better[n]) for n in shared)
            else:
                good = sum(beats(ours[n], theirs[n], better[n]) for n in shared)
            if len(shared) == 1:
                parts.append(words.removesuffix(" on") if good else f"not {words.removesuffix(' on')}")
            else:
                parts.append(f"{words} {_share(good, len(shared))}")
    lead = names[0]
    others = [
        f"{c} {number(columns[c][lead])}"
        for c in (floor, baseline)
        if columns.get(c, {}).get(lead) is not None
    ]
    told = f"{lead.replace('_', ' ')} is {number(ours[lead])}" + (f" ({', '.join(others)})" if others else "")
    if not parts:
        return f"The samples' {told}."
    return f"The samples are {' and '.join(parts)}; {told}."


def _share(good: int, count: int) -> str:
    if good == count:
        return "both measures" if count == 2 else f"all {count} measures"
    return f"{good or 'none'} of {count} measures"


def _of_scores(evaluation: Mapping[str, Any], samples: str) -> str:
    better = evaluation.get("better", {})
    for column, values in evaluation.get("scores", {}).items():
        for name, value in values.items():
            if name in better and value is not None:
                told = name.replace("_", " ")
                where = "" if column == samples else f" on {column}"
                return f"The flow's {told}{where} is {number(value)} ({better[name]} is better)."
    return ""
