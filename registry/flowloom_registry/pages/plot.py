"""Line plots that answer to the pointer, with a still drawing of the same inside."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from flowloom_registry.pages.still import still

__all__ = ["Line", "Plot", "plots"]

Style = Literal["line", "dots", "level", "mark"]


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Args:
        label: its name; lines of one name have one colour in all plots of a group.
        x: rising.
        y: as many; None and what is not finite is left out.
        style: ``line``, ``dots`` (a line with its points), ``level`` (dashed: a floor, a baseline) or
            ``mark`` (rings without a line).
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: Style = "line"


@dataclass(frozen=True)
class Plot:
    """One panel.

    Args:
        title: above it.
        lines: drawn in order.
        x: name of the horizontal axis.
        y: name of the vertical axis.
        log_x: base of a logarithmic horizontal axis, 0 for a linear one.
        log_y: whether the vertical axis starts out logarithmic. Values that are not positive make it linear.
        hint: shown when the title is pointed at.
    """

    title: str
    lines: Sequence[Line]
    x: str
    y: str = ""
    log_x: Literal[0, 2, 10] = 0
    log_y: bool = False
    hint: str = ""

    def positive(self) -> bool:
        """Whether a logarithmic vertical axis can show every value."""
        shown = [v for line in self.lines for v in line.y if v is not None and math.isfinite(v)]
        return bool(shown) and min(shown) > 0

    def log(self) -> bool:
        """Whether the vertical axis is logarithmic at first."""
        return self.log_y and self.positive()


def plots(panels: Sequence[Plot], *, caption: str = "", columns: int = 3, height: int = 240) -> Markup:
    """Panels with one legend; pointing at one shows its values, a click on the legend hides a line.

    Args:
        panels: side by side, as many a row as have room.
        caption: below them.
        columns: most panels a row.
        height: of a panel, in pixels.
    """
    panels = [panel for panel in panels if any(line.x for line in panel.lines)]
    if not panels:
        return Markup("")
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    colours = {label: i % 8 + 1 for i, label in enumerate(labels)}
    styles = {line.label: line.style for panel in panels for line in panel.lines}
    legend = Markup("").join(
        Markup('<li class="{}" data-label="{}" style="--c:var(--c{})">{}</li>').format(
            styles[label], label, colours[label], label
        )
        for label in labels
    )
    drawn = Markup("").join(
        Markup(
            '<figure class="plot" style="--h:{}px"><figcaption title="{}">{}</figcaption>'
            '<div class="live"></div><div class="still">{}</div>'
            '<script type="application/json">{}</script></figure>'
        ).format(height, panel.hint, panel.title, still(panel, colours, height), _data(panel, colours))
        for panel in panels
    )
    below = Markup('<p class="soft">{}</p>').format(caption) if caption else ""
    log = Markup(" data-log") if any(panel.positive() for panel in panels) else ""
    return Markup(
        '<div class="plots"{}><ul class="legend">{}</ul><div class="panels" style="--n:{}">{}</div></div>{}'
    ).format(log, legend, min(columns, len(panels)), drawn, below)


def _data(panel: Plot, colours: dict[str, int]) -> Markup:
    """A panel for ``page.js``: one column of x, and a column of y for every line, with gaps."""
    xs = sorted({float(x) for line in panel.lines for x in line.x})
    lines: list[dict[str, Any]] = []
    for line in panel.lines:
        at = dict(zip(map(float, line.x), line.y, strict=True))
        y = [_finite(at.get(x)) for x in xs]
        lines.append({"label": line.label, "style": line.style, "colour": colours[line.label], "y": y})
    data = {
        "x": xs,
        "lines": lines,
        "xLabel": panel.x,
        "yLabel": panel.y,
        "logX": panel.log_x,
        "logY": panel.log(),
        "positive": panel.positive(),
    }
    # Nothing in it may end the script element.
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))


def _finite(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
