"""The evaluation as a table in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flowloom_registry.runs.evaluate import Evaluation

_ARROWS = {"lower": "↓", "higher": "↑"}


def print_table(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print one row a metric and one column a set of examples."""
    console = console or Console(width=100, highlight=False)
    table = Table(title=f"{evaluation.n} examples against {evaluation.reference} training examples")
    table.add_column("metric")
    for column in evaluation.columns:
        table.add_column(column, justify="right")
    for name, arrow in rows(evaluation):
        table.add_row(f"{name} {arrow}", *(number(c.get(name)) for c in evaluation.columns.values()))
    console.print(table)
    for note in evaluation.notes:
        console.print(f"note: {note}")


def rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Metric names in order, with an arrow that says which way is good."""
    names = list(dict.fromkeys(name for column in evaluation.columns.values() for name in column))
    return [(name, _ARROWS.get(evaluation.better.get(name, ""), "")) for name in names]


def number(value: float | None) -> str:
    """A value with four significant digits, a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
