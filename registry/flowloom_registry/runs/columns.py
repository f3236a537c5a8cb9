"""Columns of a table: sets of examples, each judged by the same metrics beside the same truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.evaluation import SEEN
from flowloom_registry.runs.matched import matched_rows
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.values import named_values

Draws = Callable[[int, int], list[Examples]]
"""Gives draws of every row, all at once: number of the first, and how many."""

_NOTHING = "the metric returned none"


def same(rows: Examples) -> Draws:
    """The same rows in every draw."""
    return lambda _, count: [rows] * count


class Judge:
    """The metrics of one table, fitted, and the examples that sets are compared with.

    A metric that fails is left out of everything that follows, and said once.

    Args:
        assembly: whose data metrics are fitted on.
        metrics: what judges.
        reference: held-out examples.
        paired: whether rows have a truth beside them.
        notes: collects what was left out.
        about: put before the name of a metric in notes.
    """

    def __init__(
        self,
        assembly: Assembly,
        metrics: Iterable[Metric],
        reference: Examples,
        paired: bool,
        notes: Notes,
        about: str = "",
    ) -> None:
        self.assembly, self.notes, self.about = assembly, notes, about
        self.reference = reference.with_layout(self.assembly.spec)
        self.metrics: list[Metric] = []
        self._told: dict[str, Metric] = {}
        for metric in metrics:
            with notes.about(f"{about}metric {named(metric)}"):
                self._fit(metric, paired)
                self.metrics.append(metric)

    @property
    def sets(self) -> bool:
        """Whether any metric compares sets, which need no truth row by row."""
        return any(not metric.paired for metric in self.metrics)

    @property
    def draws(self) -> int:
        """How many draws of a row paired metrics want at most."""
        return max((metric.draws for metric in self.metrics if metric.paired), default=1)

    def of(self, draw: Draws, truth: Examples | None, draws: int | None = None) -> dict[str, float]:
        """All metrics of some rows.

        Args:
            draw: gives them.
            truth: of the same rows; paired metrics are left out where None.
            draws: how many of each row paired metrics are given; as many as each wants where None.
        """
        beside = None if truth is None else truth.with_layout(self.assembly.spec)
        drawn = [one.with_layout(self.assembly.spec) for one in draw(0, 1)]
        values: dict[str, float] = {}
        for metric in list(self.metrics):
            if metric.paired and beside is None:
                continue
            with self._leaving_out(metric):
                found: dict[str, float]
                if beside is not None and metric.paired:
                    wanted = metric.draws if draws is None else draws
                    if wanted > len(drawn):
                        more = draw(len(drawn), wanted - len(drawn))
                        drawn += [one.with_layout(self.assembly.spec) for one in more]
                    found = named_values(metric(joined(drawn[:wanted]), beside))
                else:
                    found = named_values(metric(drawn[0], self.reference))
                self._told |= dict.fromkeys(found, metric)
                values.update(found)
        return values

    def of_training(self, like: Examples, seed: int) -> dict[str, float] | None:
        """All metrics of training rows of the same classes, which are the truth of no row.

        Args:
            like: rows whose classes they have.
            seed: of the choice of rows.

        Returns:
            None where training has none of these classes, for all of them are kept out of it.
        """
        data = self.assembly.require_data("samples are judged beside training rows")
        some = matched_rows(data, like, self.assembly.class_condition(), seed)
        return None if some is None else self.of(same(self.assembly.in_range(some)), None)

    def explain(self, columns: Mapping[str, Mapping[str, float]]) -> None:
        """A note for values that some columns have and others have not, and why not.

        Args:
            columns: all of the table, by name.
        """
        if self.notes.rehearsing:
            return
        gaps: dict[tuple[str, str], list[str]] = {}
        for name, metric in self._told.items():
            lacking = [column for column, values in columns.items() if name not in values]
            if metric not in self.metrics or len(lacking) == len(columns):
                continue  # left out, which has its note
            if metric.paired and SEEN in lacking:
                lacking.remove(SEEN)  # no training row is the truth of another, in any table
            if lacking:
                where = ", ".join(f"'{column}'" for column in lacking)
                gaps.setdefault((where, metric.silent or _NOTHING), []).append(name)
        for (where, why), names in gaps.items():
            self.notes.lines.append(f"{self.about}no {', '.join(names)} of {where}: {why}")

    def _fit(self, metric: Metric, paired: bool) -> None:
        if metric.paired and not paired:
            raise IncompatibleError(
                "it compares samples with the truth of the same row, and there is none: samples are "
                "drawn under no conditions of held-out rows (a view such as mask, context or noisy "
                "makes some)"
            )
        if id(metric) not in self.assembly.fitted:
            metric.fit(self.assembly.require_data("metrics judge against data"))
            self.assembly.fitted.add(id(metric))

    @contextmanager
    def _leaving_out(self, metric: Metric) -> Iterator[None]:
        before = len(self.notes.lines)
        with self.notes.about(f"{self.about}metric {named(metric)}"):
            yield
        if len(self.notes.lines) > before:
            self.metrics.remove(metric)


def named(part: object) -> str:
    """What a part is called in notes."""
    return type(part).__name__


def joined(drawn: list[Examples]) -> Examples:
    """All rows once, then all rows again, as a paired metric wants them."""
    # Every draw has a layout of its own: a flow may make up how long a row is.
    return drawn[0] if len(drawn) == 1 else Examples.concat(drawn)
