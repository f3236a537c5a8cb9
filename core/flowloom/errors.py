"""The errors flowloom raises for mistakes that are a user's to mend.

Each message is one line: what was given, what is accepted, what to do. The command line prints them
without a traceback and exits with code 2; anything else that escapes is a bug and shows its trace.
This module imports nothing, so that light tools can use it.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "FlowloomError",
    "IncompatibleError",
    "MissingDependencyError",
    "OffManifoldError",
    "ProcessLostError",
    "RunError",
    "ShapeError",
    "SolverError",
    "StoppedElsewhereError",
    "TrainingError",
]


class FlowloomError(Exception):
    """Base of every error that a user can mend; its message is written for them."""


class DataError(FlowloomError):
    """A data file is missing, truncated, of the wrong kind, or holds values out of range."""


class ShapeError(FlowloomError):
    """A state, time or condition has a shape or dtype that its receiver cannot use."""


class OffManifoldError(FlowloomError):
    """A point does not lie on its geometry; the message names the row and by how much.

    Args:
        name: what was looked at.
        row: the worst row of it.
        fault: by how much, and what to do.
    """

    def __init__(self, name: str, row: int, fault: str) -> None:
        super().__init__(f"{name}: row {row} is {fault}")
        self.name, self.row, self.fault = name, row, fault


class IncompatibleError(FlowloomError):
    """Two parts that cannot work together; the message says which, why, and what would fit."""


class TrainingError(FlowloomError):
    """Training cannot go on (a loss that is not finite, say); the last good checkpoint is kept."""


class SolverError(FlowloomError):
    """A solver gave up: too many evaluations, a vanishing step, or a field that is not finite."""


class RunError(FlowloomError):
    """A run folder is foreign, half-written or does not match what is asked of it."""


class MissingDependencyError(FlowloomError):
    """A component needs a package that is not installed; the message says which, and what to install."""


class StoppedElsewhereError(FlowloomError):
    """Another process of a training told why it stopped, and this one stops with it: nothing more to tell."""


class ProcessLostError(FlowloomError):
    """Another process of a training is gone; the message says why where that process did."""
