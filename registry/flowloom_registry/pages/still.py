"""The still drawing of a plot: SVG in the page's colours, for print and browsers without JavaScript."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from flowloom_registry.pages.plot import Line, Plot

__all__ = ["still"]

_INK, _GRID = "#010101", "#020202"
"""Stand for the colours of text and lines, which the page decides."""


def still(panel: Plot, colours: Mapping[str, int], height: int) -> Markup:
    """A plot as inline SVG whose colours are the page's variables."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": panel.title,
        "text.parse_math": False,
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _GRID,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _GRID,
    }
    buffer = io.StringIO()
    with mpl.rc_context(style):
        canvas = Canvas(figsize=(4.2, height / 80), layout="constrained")
        axes: Any = canvas.subplots()
        for line in panel.lines:
            _draw(axes, line, f"#0{colours[line.label]}0a0b")
        if panel.log_x:
            axes.set_xscale("log", base=panel.log_x)
            ticks = sorted({x for line in panel.lines if line.style != "level" for x in line.x})
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
            axes.set_xticks([], minor=True)
        if panel.log():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set(xlabel=panel.x, ylabel=panel.y)
        axes.grid(linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        canvas.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Type": None, "Format": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "var(--ink)").replace(_GRID, "var(--line)")
    text = re.sub(r"#0(\d)0a0b", r"var(--c\1)", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg role="img" viewBox="\1">', text, count=1)
    label = Markup('<svg role="img" aria-label="{}" ').format(f"{panel.title}: {_told(panel)}")
    return Markup(text.replace('<svg role="img" ', str(label), 1))


def _draw(axes: Any, line: Line, colour: str) -> None:
    there = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None and math.isfinite(y)]
    if not there:
        return
    x, y = zip(*there, strict=True)
    shapes = {"line": "-", "dots": "o-", "level": "--", "mark": "o"}
    fill = "none" if line.style == "mark" else colour
    size = 9 if line.style == "mark" else 3.5
    axes.plot(x, y, shapes[line.style], color=colour, linewidth=1.4, markersize=size, markerfacecolor=fill)


def _told(panel: Plot) -> str:
    """Where every line ends, in words."""
    ends = []
    for line in panel.lines:
        there = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None and math.isfinite(y)]
        if there:
            ends.append(f"{line.label} {there[-1][1]:.4g} at {there[-1][0]:g} {panel.x}")
    return "; ".join(ends)
