"""Mean and deviation over seeds, of everything that differs in nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowloom_registry.studies.results import Record


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Args:
        values: one a seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation (n - 1), None for a single one."""
        if len(self.values) < 2:
            return None
        return math.sqrt(sum((v - self.mean) ** 2 for v in self.values) / (len(self.values) - 1))

    def __str__(self) -> str:
        spread = self.deviation
        return f"{self.mean:.4g}" if spread is None else f"{self.mean:.4g} ± {spread:.2g}"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Spread of the values that are there and finite, None without any."""
    found = tuple(v for v in values if v is not None and math.isfinite(v))
    return Spread(found) if found else None


def grouped(
    records: Sequence[Record], by: Callable[[Record], tuple[object, ...]]
) -> Mapping[tuple[object, ...], list[Record]]:
    """Records of equal keys together, in the order in which they come."""
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        found.setdefault(by(record), []).append(record)
    return found


def without_seed(record: Record) -> tuple[object, ...]:
    """What a record is but for its seed."""
    return tuple(record.labels.values())


def by_solver(record: Record) -> tuple[object, ...]:
    """The same, and the solver that drew the samples."""
    return (*record.labels.values(), record.solver)


def main_records(records: Sequence[Record]) -> list[Record]:
    """The main metric by the recipe's own solver."""
    return [record for record in records if record.main and record.own]


def curve(records: Sequence[Record]) -> list[Record]:
    """The main metric by number of evaluations: the sweep where there is one, else by the recipe's solver."""
    main = [record for record in records if record.main and record.evaluations]
    swept = [record for record in main if not record.own]
    return sorted(swept or main, key=lambda record: record.evaluations or 0)
