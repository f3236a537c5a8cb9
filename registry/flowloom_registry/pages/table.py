"""Tables that sort by any of their columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

__all__ = ["Cell", "Column", "number", "table"]


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Args:
        title: what it says.
        hint: shown when pointed at.
        sorts: whether the table sorts by it.
        text: whether it holds text, which stands at the left.
    """

    title: str
    hint: str = ""
    sorts: bool = True
    text: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        shown: text, or markup.
        key: what the table sorts by; the text where None. Without a number (NaN) it comes last.
        hint: shown when pointed at.
        best: whether it is the better of its row.
    """

    shown: str
    key: float | str | None = None
    hint: str = ""
    best: bool = False


def table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[Cell | str | float | None]],
    *,
    caption: str = "",
) -> Markup:
    """A table, its first column the heads of its rows.

    Args:
        columns: heads; a text is a `Column` of that title.
        rows: as many cells each as there are columns; numbers are shown with four digits, None as a dash.
        caption: one line below it.
    """
    heads = [one if isinstance(one, Column) else Column(one) for one in columns]
    top = Markup("").join(_head(one, i == 0) for i, one in enumerate(heads))
    body = Markup("").join(
        Markup("<tr>{}</tr>\n").format(
            Markup("").join(
                _cell(value, head, i == 0) for i, (value, head) in enumerate(zip(row, heads, strict=True))
            )
        )
        for row in rows
    )
    below = Markup('<p class="soft">{}</p>').format(caption) if caption else ""
    return Markup(
        '<div class="wide"><table class="data"><thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>{}'
    ).format(top, body, below)


def number(value: float | None) -> str:
    """A value with four significant digits, a dash where there is none."""
    return "–" if value is None else f"{value:.4g}".replace("-", "−")


def _head(column: Column, first: bool) -> Markup:
    words = ("text" if column.text or first else "") + (" sorts" if column.sorts else "")
    return Markup('<th scope="col" class="{}"{}>{}</th>').format(
        words.strip(), _hint(column.hint), column.title
    )


def _cell(value: Cell | str | float | None, column: Column, first: bool) -> Markup:
    if value is None or isinstance(value, (int, float)):
        cell = Cell(number(value), math.nan if value is None else float(value))
    else:
        cell = value if isinstance(value, Cell) else Cell(value)
    words = " ".join(w for w in ("text" if column.text or first else "", "best" if cell.best else "") if w)
    key = (
        "" if cell.key is None else Markup(' data-key="{}"').format("" if cell.key != cell.key else cell.key)
    )
    tag = Markup("th scope=row") if first else Markup("td")
    end = Markup("th") if first else Markup("td")
    shown = Markup('{}<span class="aside"> (better)</span>').format(cell.shown) if cell.best else cell.shown
    return Markup('<{} class="{}"{}{}>{}</{}>').format(tag, words, key, _hint(cell.hint), shown, end)


def _hint(text: str) -> Markup:
    return Markup(' title="{}"').format(text) if text else Markup("")
