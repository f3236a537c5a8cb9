"""The evaluation as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from flowloom_registry.runs.evaluation import SAMPLES, Columns, Evaluation

_ARROWS = {"lower": "↓", "higher": "↑"}


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print a table of metrics, one of scores and one for each task: a row a value, a column a set."""
    console = console or Console(width=100, highlight=False)
    for title, first, columns, better in tables(evaluation):
        # Names are others' words, and brackets in them no markup.
        table = Table(title=escape(title), min_width=min(len(title), 100))  # a title in one line
        table.add_column(first, no_wrap=True)
        for column in columns:
            table.add_column(escape(column), justify="right")
        for name, arrow in rows(columns, better):
            table.add_row(escape(f"{name} {arrow}"), *(number(c.get(name)) for c in columns.values()))
        wanted = Measurement.get(console, console.options.update(width=10_000), table)
        if wanted.minimum > console.width:  # words would be cut
            console.width = wanted.maximum
        console.print(table)
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False)


def tables(evaluation: Evaluation) -> list[tuple[str, str, Columns, Mapping[str, str]]]:
    """Everything that has columns, in one form: title, what a row is, columns, which way is good."""
    n = evaluation.n
    of_scores = (
        "what the flow does" if SAMPLES in evaluation.scores else f"what the flow says of {n} examples"
    )
    found = [
        (
            f"{n} examples against {evaluation.reference} held-out examples",
            "metric",
            evaluation.columns,
            evaluation.better,
        ),
        (of_scores, "score", evaluation.scores, evaluation.better),
    ]
    for name, one in evaluation.tasks.items():
        answers = f"{one.draws} answers each" if one.draws > 1 else "one answer each"
        found.append((f"task {name}: {one.n} questions, {answers}", "metric", one.columns, one.better))
    return [table for table in found if table[2]]


def rows(columns: Mapping[str, Mapping[str, float]], better: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names of values in order, with an arrow that says which way is good."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return [(name, _ARROWS.get(better.get(name, ""), "")) for name in names]


def number(value: float | None) -> str:
    """A value with four significant digits, a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
