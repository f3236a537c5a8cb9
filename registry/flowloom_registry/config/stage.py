"""Where a recipe stands among the stages of a staged one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STAGES = "stages"
"""The section."""

PREVIOUS = "previous"
"""The word for the stage, or the repetition, before."""


@dataclass(frozen=True)
class Stage:
    """One training among several that follow each other.

    Args:
        name: of its folder.
        number: counted from 1.
        of: stages in all.
        earlier: word -> stage before this one that it means; a stage that repeats goes by its own name too,
            which is then the last repetition so far.
        later: names of this stage and of those after it.
        home: folder of the whole run, once it is known.
    """

    name: str
    number: int
    of: int
    earlier: Mapping[str, str]
    later: tuple[str, ...]
    home: Path | None = None

    def __str__(self) -> str:
        return f"stage {self.number}/{self.of} {self.name}"

    @property
    def last(self) -> bool:
        """Whether no stage comes after it: its folder is that of the whole run."""
        return self.number == self.of
