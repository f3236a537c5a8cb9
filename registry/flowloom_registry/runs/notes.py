"""What goes wrong when a run is judged: a note beside the other results, or one line before training."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flowloom.errors import FlowloomError, RunError, SolverError
from flowloom_registry.errors import one_line

__all__ = ["Notes"]


class _ToldError(RunError):
    """A failure that has its sentence already."""


@dataclass
class Notes:
    """Collects what failed; in a rehearsal the first failure stops the run.

    Args:
        sparing: in a rehearsal, what a failure spares; empty where it becomes a note.
        lines: one for each thing that was left out, and why.
    """

    sparing: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def rehearsing(self) -> bool:
        """Whether the first failure stops the run."""
        return bool(self.sparing)

    def once(self, line: str) -> None:
        """A line that several tables would say alike."""
        if line not in self.lines:
            self.lines.append(line)

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """Inside, an error of any kind becomes a note that ``what`` was left out.

        A solver that gives up on the field of untrained weights says nothing about trained ones.

        Raises:
            RunError: in a rehearsal; says in one line what would have failed after training.
        """
        try:
            yield
        except _ToldError:
            raise
        except SolverError as error:
            if not self.rehearsing:
                self.lines.append(f"{what} failed: {_said(error)}")
        except Exception as error:
            if self.rehearsing:
                raise _ToldError(
                    f"{self.sparing}, for {what} would fail afterwards: {_said(error)}{_from(error)}"
                ) from error
            self.lines.append(f"{what} failed: {_said(error)}")


def _said(error: Exception) -> str:
    """The message of an error that is written for people; else with its type."""
    return " ".join(str(error).split()) if isinstance(error, FlowloomError) else one_line(error)


def _from(error: Exception) -> str:
    """Where an error came from that is not written for people."""
    if isinstance(error, FlowloomError):
        return ""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f" ({last.filename}:{last.lineno}; FLOWLOOM_DEBUG=1 shows the way there)"
