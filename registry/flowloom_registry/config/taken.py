"""What a recipe takes from another run: ``{run: NAME, part: SECTION, frozen: false}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flowloom_registry.config.nodes import Position
from flowloom_registry.config.scope import Filling
from flowloom_registry.numbered import numbered

RUN, PART, FROZEN = "run", "part", "frozen"
"""The keys of a reference; ``run`` in place of ``use`` makes a mapping one."""

USED = "used"
"""Folder within a run of what it used of others; a resolved recipe names ``used/NAME``."""


@dataclass(frozen=True)
class RunPlan:
    """A part of another run, or all of it, that stands where a component would.

    Args:
        reference: the run, as it was written.
        stage: the earlier stage that it means, None for a run folder.
        folder: the run folder that it means, None for a stage.
        part: section of that run, ``roles.NAME``, or empty for the whole flow.
        frozen: False where it is trained on.
        contract: what the part must be.
        injected: the spec of the data where the part stands between data and states.
        path: dotted path in the recipe.
        at: where it was written.
    """

    reference: str
    stage: str | None
    folder: Path | None
    part: str
    frozen: bool
    contract: Any
    path: str
    at: Position
    injected: Mapping[str, Filling] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Of the run: the same for every reference to it."""
        return f"stage {self.stage}" if self.folder is None else str(self.folder.resolve())

    @property
    def name(self) -> str:
        """Of the run, in a word."""
        return self.stage or Path(str(self.folder)).resolve().name


class Runs(Protocol):
    """Opens other runs for a recipe that takes parts of them."""

    def take(self, plan: RunPlan, spec: Any) -> Any:
        """The part that a plan names.

        Args:
            plan: which.
            spec: of the data of this recipe, where the part stands between data and states; else None.

        Raises:
            ConfigError: there is no such run or part, or it is unfinished or does not fit.
        """


def taken_in(value: Any) -> Iterator[RunPlan]:
    """Every reference to another run within a checked value."""
    if isinstance(value, RunPlan):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from taken_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from taken_in(item)
    elif hasattr(value, "arguments"):
        yield from taken_in(value.arguments)


def names_of(value: Any) -> dict[str, str]:
    """Identity of every run that is taken from -> a name of its own, in the order in which they are met.

    Two folders of one name are told apart by a number.
    """
    names: dict[str, str] = {}
    for plan in taken_in(value):
        names.setdefault(plan.identity, plan.name)
    return dict(zip(names, numbered(names.values()), strict=True))
