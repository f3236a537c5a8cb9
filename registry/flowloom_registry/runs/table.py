"""The evaluation as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flowloom_registry.runs.evaluate import Evaluation

_ARROWS = {"lower": "↓", "higher": "↑"}


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print a table of metrics and one of scores: a row a value, a column a set of examples."""
    console = console or Console(width=100, highlight=False)
    titles = (
        (evaluation.columns, f"{evaluation.n} examples against {evaluation.reference} held-out examples"),
        (evaluation.scores, f"what the flow says of {evaluation.n} examples"),
    )
    for columns, title in titles:
        if not columns:
            continue
        # Names are others' words, and brackets in them no markup.
        table = Table(title=title)
        table.add_column("metric" if columns is evaluation.columns else "score")
        for column in columns:
            table.add_column(escape(column), justify="right")
        for name, arrow in rows(columns, evaluation.better):
            table.add_row(escape(f"{name} {arrow}"), *(number(c.get(name)) for c in columns.values()))
        console.print(table)
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False)


def rows(columns: Mapping[str, Mapping[str, float]], better: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names of values in order, with an arrow that says which way is good."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return [(name, _ARROWS.get(better.get(name, ""), "")) for name in names]


def number(value: float | None) -> str:
    """A value with four significant digits, a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
