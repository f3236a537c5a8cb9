"""Results of a study as one HTML page: plots that answer to the pointer, and tables that sort."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from flowloom_registry.pages import Cell, Column, Line, Plot, Section, notes, plots, table
from flowloom_registry.pages import page as whole_page
from flowloom_registry.studies.results import FLOOR, Record, Results
from flowloom_registry.studies.summary import by_solver, curve, grouped, main_records, spread, without_seed
from flowloom_registry.studies.table import remarks, tables

_BASELINE = "baseline"
_SAME = (
    "0 is training data, 1 the baseline (a Gaussian fitted to it, say), so that all data stand in one plot."
)
_MEANS = "Points are means over seeds; the table has their deviations."


def page(results: Results) -> str:
    """Plots and tables, with nothing that is loaded from elsewhere."""
    sections = [
        Section(title, table([_column(results, word) for word in columns], rows))
        for title, columns, lines in tables(results)
        for rows in [[[_cell(word) for word in line] for line in lines]]
    ]
    left = remarks(results)
    if left:
        sections.append(Section("What did not finish, was left out, or is not judged alike", notes(left)))
    head = Markup("<p>{}</p>").format(results.summary) if results.summary else Markup("")
    return whole_page(results.name, *figures(results), *sections, head=head)


def figures(results: Results) -> list[Section]:
    """What there is to plot."""
    found = []
    shown = curve(results.records)
    swept = [record for record in shown if record.quality is not None]
    if len({record.evaluations for record in swept}) > 1:
        body = plots([_qualities(swept)], caption=f"{_SAME} {_MEANS}", columns=1, height=380)
        found.append(Section("Quality against network evaluations", body, "less is better"))
    if len({record.evaluations for record in shown}) > 1 and len(results.axes) > 1:
        body = plots(_panels(shown), caption=f"{_MEANS} Dashed: training data, and the baseline.")
        found.append(Section("Every metric in its own units", body))
    timed = [r for r in main_records(results.records) if r.quality is not None and r.train_seconds]
    if timed:
        body = plots([_times(timed)], caption=f"{_SAME} {_MEANS}", columns=1, height=380)
        found.append(Section("Quality against training time", body, "less is better"))
    return found


def _qualities(records: Sequence[Record]) -> Plot:
    lines = [
        Line(_label(key), *_means([(r.evaluations, r.quality) for r in group]), style="dots")
        for key, group in grouped(records, by_solver).items()
    ]
    at = sorted({float(r.evaluations) for r in records if r.evaluations})
    lines += [Line(name, at, [y] * len(at), "level") for name, y in ((FLOOR, 0.0), (_BASELINE, 1.0))]
    return Plot("Quality", lines, "network evaluations a sample", "quality", log_x=2)


def _panels(records: Sequence[Record]) -> list[Plot]:
    """One for each value of the axes after the first: its own metric in its own units."""
    found = []
    for key, group in grouped(records, lambda record: tuple(record.labels.values())[1:]).items():
        lines = [
            # Arms have one colour in all panels.
            Line(_label((name, solver)), *_means([(r.evaluations, r.value) for r in some]), style="dots")
            for (name, solver), some in grouped(
                group, lambda record: (next(iter(record.labels.values())), record.solver)
            ).items()
        ]
        at = sorted({float(r.evaluations) for r in group if r.evaluations})
        ends = ((FLOOR, spread(r.floor for r in group)), (_BASELINE, spread(r.baseline for r in group)))
        lines += [Line(name, at, [end.mean] * len(at), "level") for name, end in ends if end is not None]
        metric = f"{group[0].metric.replace('_', ' ')} ({group[0].better} is better)"
        found.append(Plot(_label(key), lines, "network evaluations", metric, log_x=2))
    return found


def _times(records: Sequence[Record]) -> Plot:
    """A ring for each cell, over its seeds."""
    lines = []
    for key, group in grouped(records, without_seed).items():
        seconds, quality = spread(r.train_seconds for r in group), spread(r.quality for r in group)
        if seconds is not None and quality is not None:
            lines.append(Line(_label(key), [seconds.mean], [quality.mean], "mark"))
    return Plot("Quality", lines, "seconds of training", "quality", log_x=10)


def _means(points: Sequence[tuple[int | None, float | None]]) -> tuple[list[float], list[float | None]]:
    """Numbers of evaluations, rising, and the mean over seeds at each."""
    at = sorted({n for n, _ in points if n})
    found = [spread(value for n, value in points if n == one) for one in at]
    return [float(n) for n in at], [None if one is None else one.mean for one in found]


def _label(words: Sequence[object]) -> str:
    return " · ".join(str(word) for word in words if word)


def _column(results: Results, word: str) -> Column:
    return Column(word, text=word in (*results.axes, "metric", "solver"))


def _cell(word: str) -> Cell:
    """Sorted by the number that it begins with, as text where it is none."""
    first = word.strip("()").partition(" ")[0]
    try:
        return Cell(word, float(first))
    except ValueError:
        return Cell(word, math.nan if word in ("", "-") else word)
