"""What a run's data looked like, kept so that other data under the same name is noticed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.errors import RunError, ShapeError
from flowloom.spec import Condition, Spec
from flowloom.state import leaves
from flowloom_registry.errors import one_line
from flowloom_registry.runs.folder import read_json

_SUMMED = 16
"""Rows, evenly spread, whose sums are kept."""

_BEFORE_VIEWS = "before_views"
_LATER = ("role", "of", "limits", "rate")


def spec_as_json(spec: Spec) -> dict[str, Any]:
    """A spec as plain data; `spec_from_json` makes one of it again."""
    seldom = {"limits": None if spec.limits is None else list(spec.limits), "rate": spec.rate}
    return {
        "shape": list(spec.shape),
        "vocab": spec.vocab,
        "tokens": list(spec.tokens),
        "conditions": {
            name: {"classes": c.classes, "shape": list(c.shape), "names": list(c.names)}
            | ({"role": c.role, "of": c.of} if c.role != "inform" else {})
            for name, c in spec.conditions.items()
        },
        "parts": {name: spec_as_json(part) for name, part in spec.parts.items()},
    } | {name: value for name, value in seldom.items() if value is not None}


def spec_from_json(value: Mapping[str, Any]) -> Spec:
    """The spec that `spec_as_json` wrote down.

    Raises:
        RunError: it is damaged.
    """
    try:
        limits = value.get("limits")
        conditions = {
            name: Condition(
                c["classes"],
                tuple(c["shape"]),
                tuple(c["names"]),
                c.get("role", "inform"),
                c.get("of", ""),
            )
            for name, c in value["conditions"].items()
        }
        return Spec(
            shape=tuple(value["shape"]),
            vocab=value["vocab"],
            parts={name: spec_from_json(part) for name, part in value["parts"].items()},
            conditions=conditions,
            limits=None if limits is None else (float(limits[0]), float(limits[1])),
            tokens=tuple(value["tokens"]),
            rate=value.get("rate"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ShapeError) as error:
        raise RunError(f"a spec that was written down cannot be read: {one_line(error)}") from error


def data_as_json(spec: Spec, data: Dataset | None, plain: Spec | None = None) -> dict[str, Any]:
    """`spec_as_json`, with the number of rows and sums over a few of them.

    Args:
        spec: of the data, after all views.
        data: whose rows are summed.
        plain: spec of the data before the views, where there are views.
    """
    if data is None:
        return spec_as_json(spec)
    rows = data.evenly(_SUMMED)
    examples = data.take(rows).laid_out(data.spec)
    x = examples.x if examples.layout is None else examples.layout.zero(examples.x)
    sums = {f"x.{name}" if name else "x": _sums(leaf) for name, leaf in leaves(x)}
    sums |= {f"cond.{name}": _sums(value) for name, value in examples.cond.items()}
    before = {} if plain is None else {_BEFORE_VIEWS: spec_as_json(plain)}
    return spec_as_json(spec) | before | {"rows": len(data), "sums": sums}


def _sums(leaf: Tensor) -> list[float]:
    """One number for every row, which depends on values and on their order."""
    flat = leaf.reshape(len(leaf), -1).double()
    return (flat @ (torch.arange(flat.shape[1]) % 97 + 1.0).double()).tolist()


def require_same_data(file: Path, spec: Spec, data: Dataset | None = None) -> None:
    """Compare a run's ``data.json`` with the data as it is now.

    Ids mean nothing without their tokens: a text with as many other characters would load, and decode to
    nonsense.

    Args:
        file: the ``data.json``.
        spec: of the data now.
        data: whose rows are compared as well, where training goes on.

    Raises:
        RunError: they differ, or the file is damaged; the message names the first difference.
    """
    if not file.is_file():
        return
    before = read_json(file)
    sums, rows = before.pop("sums", None), before.pop("rows", None)
    before.pop(_BEFORE_VIEWS, None)
    difference = _difference(before, spec_as_json(spec), "")
    if not difference and data is not None and isinstance(sums, dict):
        now = data_as_json(spec, data)
        if rows != now["rows"]:
            difference = f"it had {rows} rows and has {now['rows']}"
        elif apart := _apart(sums, now["sums"]):
            of = f" of condition '{apart.removeprefix('cond.')}'" if apart.startswith("cond.") else ""
            difference = f"its rows hold other values{of}"
    if difference:
        raise RunError(
            f"the data is not what {file.parent} was trained on: {difference}; put the old data back, or "
            "train anew"
        )


def remembered(file: Path) -> tuple[Spec, int]:
    """What a run's ``data.json`` says of its data set: the spec before all views, and the number of rows.

    Raises:
        RunError: the file is missing or damaged, or the run had no data set.
    """
    value = read_json(file)
    rows = value.get("rows")
    if not isinstance(rows, int):
        raise RunError(f"{file} tells of no data set")
    return spec_from_json(value.get(_BEFORE_VIEWS, value)), rows


def _apart(before: dict[str, Any], now: dict[str, list[float]]) -> str:
    """What differs by more than other machines round otherwise; empty where nothing does.

    Sums of conditions are not in the files of older runs.
    """
    for name in now:
        if name not in before and name.startswith("cond."):
            continue
        a, b = before.get(name, []), now[name]
        # Beside the size of what was summed: data may be of any scale.
        size = 1e-4 * max((abs(v) for v in (*a, *b) if math.isfinite(v)), default=0.0)
        if len(a) != len(b) or not all(u == v or _near(u, v, size) for u, v in zip(a, b, strict=True)):
            return name
    return next((name for name in before if name not in now), "")


def _near(a: float, b: float, size: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-3, abs_tol=size) or (math.isnan(a) and math.isnan(b))


def _difference(before: Any, now: Any, where: str) -> str:
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            if key in _LATER and key not in before:
                continue  # written by an older version
            found = _difference(before.get(key), now.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        i = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
        return f"{where}[{i}] was {before[i]!r} and is {now[i]!r}"
    return f"{where} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(value)} entries)"
