"""Facts of a run that several files and pages tell."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.scores import Score
from flowloom_registry.runs.folder import RunFolder

__all__ = ["meanings", "parts_of_loss", "trained_parameters", "trained_seconds"]


def trained_parameters(flow: Flow) -> int:
    """Numbers that training moves."""
    return sum(parameter.numel() for parameter in flow.trainable().values())


def trained_seconds(folder: RunFolder) -> float:
    """Seconds of training so far, over all processes that worked on it."""
    lines = folder.read_metrics()
    seconds = [line["seconds"] for line in lines if isinstance(line.get("seconds"), float | int)]
    return float(seconds[-1]) if seconds else 0.0


def meanings(judges: Sequence[Metric | Score]) -> dict[str, str]:
    """What every value of metrics and scores means, in a sentence or two.

    It is what the judge says about it, else the first paragraph of its docstring.
    """
    found: dict[str, str] = {}
    for judge in judges:
        first = (inspect.getdoc(type(judge)) or "").partition("\n\n")[0]
        for name in judge.better:
            found.setdefault(name, judge.about.get(name, " ".join(first.split())))
    return found


def parts_of_loss(metrics: Mapping[str, float]) -> dict[str, float]:
    """The loss, and what it is made of where it has several parts."""
    beside = {"step", "loss", "seconds", "examples_per_second"}
    parts = {
        name: value
        for name, value in metrics.items()
        if name not in beside and not name.rpartition("/")[2].startswith(("lr", "grad_norm"))
    }
    return {"loss": metrics["loss"], **parts}
