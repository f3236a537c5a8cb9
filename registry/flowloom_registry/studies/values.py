"""Names of the values that a run will have, before it is carried out."""

from __future__ import annotations

from flowloom.metrics import Metric
from flowloom.scores import Score
from flowloom_registry.runs.ask import names as names_of_tasks
from flowloom_registry.runs.assembly import Assembly

__all__ = ["OF_EVERY_RUN", "values_of"]

OF_EVERY_RUN = ("loss", "train_seconds", "evaluations", "parameters")
"""Values that a claim may be about besides metrics and scores: of training, and the cost."""


def values_of(assembly: Assembly) -> list[str]:
    """What its metrics, scores and tasks will tell, and what is told of every run."""
    judges: list[Metric | Score] = [*assembly.metrics, *assembly.scores]
    of_tasks = [
        f"{task}/{name}"
        for task, one in names_of_tasks(assembly).items()
        for metric in one.metrics
        for name in _named(metric)
    ]
    return [*dict.fromkeys(name for judge in judges for name in _named(judge)), *of_tasks, *OF_EVERY_RUN]


def _named(judge: Metric | Score) -> list[str]:
    """Values with a good direction, and those that are told of without one (a spread that is right at 1)."""
    return [*dict.fromkeys((*judge.better, *judge.about))]
