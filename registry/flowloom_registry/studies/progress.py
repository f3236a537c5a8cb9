"""What a study says while it goes on: one line a cell, and the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from flowloom_registry.durations import duration
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.folder import FINISHED, State, StudyFolder


def without_seed(name: str) -> str:
    """What a cell's name is but for its seed."""
    return name.rpartition("_seed")[0]


class Progress:
    """One line at the start and one a cell on stderr, with the time that is left, where it can be known.

    A cell takes what the same one took under another seed, else what is known of it from elsewhere, else as
    long as those that ended did on average.

    Args:
        cells: to be carried out.
        total: cells in all.
        study: where; what a cell took before is not counted again.
        jobs: cells at a time.
        seconds: known from elsewhere, by the cells' names without seeds.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        total: int,
        study: StudyFolder,
        jobs: int,
        seconds: Mapping[str, float],
    ) -> None:
        self.waiting = {cell.name: study.state(cell.name).seconds for cell in cells}
        self.total, self.jobs = total, jobs
        self.known = dict(seconds)
        self.took: list[float] = []

    def begin(self) -> None:
        """Say how much there is to do."""
        if not self.waiting:
            return
        count = f"{self.total} cell{'s' if self.total > 1 else ''}, {len(self.waiting)} to carry out"
        unknown = sum(without_seed(name) not in self.known for name in self.waiting)
        left = self.left()
        time = f"; about {duration(left)}, as long as the last time" if left is not None else ""
        if time and unknown:
            time += f" ({unknown} of them were not seen before)"
        print(f"{count}{time}", file=sys.stderr, flush=True)

    def __call__(self, cell: Cell, state: State) -> None:
        """Say how a cell ended."""
        took = state.seconds - self.waiting.pop(cell.name)
        if state.state == FINISHED:
            self.known[without_seed(cell.name)] = took
            self.took.append(took)
        why = f": {state.why}" if state.why and state.state != FINISHED else ""
        line = f"[{self.total - len(self.waiting)}/{self.total}] {cell.title}: {state.state}{why}"
        left = self.left() if self.waiting else None
        more = f"  ({duration(took)}; about {duration(left)} left)" if left is not None else ""
        print(line + more, file=sys.stderr, flush=True)

    def left(self) -> float | None:
        """Seconds, None while nothing is known."""
        known = {name: self.known.get(without_seed(name)) for name in self.waiting}
        all_known = [*self.took, *(v for v in known.values() if v is not None)]
        if not all_known:
            return None
        mean = sum(all_known) / len(all_known)
        return sum(mean if v is None else v for v in known.values()) / min(self.jobs, len(known) or 1)
