"""Results of a study as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from flowloom_registry.studies.cells import ARM
from flowloom_registry.studies.folder import ABSENT, FINISHED, UNDEFINED
from flowloom_registry.studies.results import RUN, Record, Results
from flowloom_registry.studies.summary import (
    Spread,
    by_solver,
    curve,
    grouped,
    main_records,
    spread,
    without_seed,
)

_ARROWS = {"lower": "↓", "higher": "↑"}


def print_results(results: Results, console: Console | None = None) -> None:
    """Print what every cell's main metric is, over seeds, and against evaluations where there is a sweep."""
    if console is None:
        console = Console(highlight=False)
        console.width = max(console.width, 140)  # a line that wraps is harder to read than one that is cut
    for title, head, rows in tables(results):
        table = Table(title=title)
        for i, word in enumerate(head):
            table.add_column(word, justify="left" if i < len(results.axes) else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in remarks(results):
        console.print(line)


def tables(results: Results) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and rows of every table."""
    found = [(f"{results.name}: mean ± deviation over seeds", *_own(results))]
    if any(record.main and not record.own for record in results.records):
        title = (
            "quality at so many network evaluations: 0 as training data, 1 as the baseline; less is better"
        )
        found.append((title, *_sweep(results)))
    return found


def _own(results: Results) -> tuple[list[str], list[list[str]]]:
    head = [*results.axes, "metric", "value", "training data", "baseline", "quality"]
    head += ["evaluations", "training s", "seeds"]
    lines = []
    for labels, records in grouped(results.records, without_seed).items():
        main = main_records(records)
        words = [str(label) for label in labels]
        if not main:
            words += [_states(records), *[""] * 6, seeds(records)]
            lines.append(words)
            continue
        name = f"{main[0].metric} {_ARROWS.get(main[0].better, '')}".strip()
        value, floor, baseline, quality, evaluations, seconds = (
            spread(getattr(r, k) for r in main)
            for k in ("value", "floor", "baseline", "quality", "evaluations", "train_seconds")
        )
        ends, cost = map(_short, (floor, baseline)), map(_short, (evaluations, seconds))
        lines.append([*words, name, told(value), *ends, told(quality), *cost, seeds(records)])
    return head, lines


def _sweep(results: Results) -> tuple[list[str], list[list[str]]]:
    groups = grouped(results.records, without_seed)
    at = sorted({record.evaluations or 0 for records in groups.values() for record in curve(records)})
    lines = []
    for labels, records in groups.items():
        lines_of = grouped(curve(records), by_solver) or {(*labels, ""): []}
        for key, points in lines_of.items():
            there = grouped(points, lambda record: (record.evaluations,))
            cells = [_point(there.get((n,), []), records) for n in at]
            lines.append([*map(str, key), *cells])
    return [*results.axes, "solver", *map(str, at)], lines


def _point(points: Sequence[Record], of_cell: Sequence[Record]) -> str:
    """Quality; the bare value, in brackets, where there is no floor or baseline to measure it by."""
    normal = spread(record.quality for record in points)
    raw = spread(record.value for record in points)
    return told(normal) if normal else f"({told(raw)})" if raw else _gap(of_cell)


def told(values: Spread | None) -> str:
    """Mean and deviation, a dash where there is nothing."""
    return "-" if values is None else str(values)


def _short(values: Spread | None) -> str:
    return "-" if values is None else f"{values.mean:.3g}"


def seeds(records: Sequence[Record]) -> str:
    """How many seeds there are results of: ``3``, ``2 of 3`` while others did not finish, or none at all."""
    asked = {record.seed for record in records if record.state not in (UNDEFINED, ABSENT)}
    done = {record.seed for record in records if record.state == FINISHED}
    if not asked:
        return "-"
    return str(len(asked)) if done == asked else f"{len(done)} of {len(asked)}"


def _states(records: Sequence[Record]) -> str:
    return ", ".join(dict.fromkeys(record.state for record in records))


def _gap(records: Sequence[Record]) -> str:
    states = {record.state for record in records}
    return "-" if FINISHED in states else _states(records)


def remarks(results: Results) -> list[str]:
    """One line for all that did not finish, was left out or is not judged alike, and why."""
    found: dict[str, None] = {}
    for record in results.states().values():
        if record.why:
            where = " · ".join(record.labels.values())
            word = "note" if record.state == FINISHED else record.state
            found.setdefault(f"{where}: {word}: {record.why}")
    return [*list(found)[::-1], *_unlike(results)]


def _unlike(results: Results) -> list[str]:
    """Values that stand beside each other and were judged by other numbers of examples."""
    judged = [record for record in results.records if record.main and record.judged]
    swept = [record for record in judged if not record.own]
    found = _scaled(judged)
    if results.axes[0] not in (ARM, RUN):  # the grid may be one of data, with as many examples as each has
        return found
    return [*_beside(main_records(judged), ""), *_beside(swept, " of the sweep"), *found]


def _beside(records: Sequence[Record], where: str) -> list[str]:
    """Arms, or runs, of which one was judged by other numbers than the next."""
    found = []
    beside = grouped(records, lambda record: (*list(record.labels.values())[1:], record.metric))
    for key, some in beside.items():
        by = grouped(some, lambda record: (record.judged,))
        if len(by) > 1:
            said = "; ".join(f"{_names(alike)} by {judged}" for (judged,), alike in by.items())
            found.append(f"{' · '.join(map(str, key))}{where}: not comparable without care: {said}")
    return found


def _scaled(records: Sequence[Record]) -> list[str]:
    """Points of a sweep that are measured by training data and a baseline of other numbers of examples."""
    found: dict[str, None] = {}
    for some in grouped(records, lambda record: (record.cell,)).values():
        whole = next((record.judged for record in some if record.own), "")
        for point in some:
            if whole and not point.own and point.judged != whole:
                found.setdefault(
                    f"points of the sweep are of {point.judged}, training data and baseline of {whole}: "
                    "their quality is not comparable without care"
                )
    return list(found)


def _names(records: Sequence[Record]) -> str:
    return ", ".join(dict.fromkeys(next(iter(record.labels.values())) for record in records))
