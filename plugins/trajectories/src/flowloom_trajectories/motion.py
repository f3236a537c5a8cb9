"""Ways as a moving picture: an SVG that moves by itself and asks for no script."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from flowloom.renderers import Figure

__all__ = ["Mover", "Panel", "moving"]

_SIDE, _EDGE, _STEP = 220, 34, 0.25


@dataclass(frozen=True)
class Mover:
    """Something that goes along a way.

    Args:
        way: ``(steps, 2)`` in metres, NaN where it is not in sight.
        colour: of its disc.
        size: of its disc, in pixels.
        trail: how well the way itself is seen, 0 to 1.
    """

    way: Tensor
    colour: str
    size: float = 3.0
    trail: float = 0.0


@dataclass(frozen=True)
class Panel:
    """One scene.

    Args:
        movers: of equally many steps, the last ones on top.
        low: left and lower border, metres.
        side: length of both sides, metres.
        walls: left lower corners of squares of 1 m.
    """

    movers: list[Mover]
    low: tuple[float, float]
    side: float
    walls: list[tuple[int, int]] = field(default_factory=list)


def moving(panels: list[Panel], caption: str, columns: int = 4) -> Figure:
    """All panels, moving together again and again, a quarter of a second a step; axes in metres.

    Where nothing moves (in print), discs stand at their last step.

    Args:
        panels: at least one.
        caption: below them.
        columns: panels beside each other, at most.
    """
    across = min(columns, len(panels))
    down = math.ceil(len(panels) / across)
    cell = _SIDE + _EDGE
    pitch = cell + 8
    inside = "".join(
        f'<g transform="translate({_EDGE + i % across * pitch},{8 + i // across * pitch})">{one}</g>'
        for i, one in enumerate(map(_drawn, panels))
    )
    width, height = across * pitch + 8, down * pitch + 8
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    back = '<rect width="100%" height="100%" fill="#ffffff"/>'
    text = '<g font-family="sans-serif" font-size="10" fill="#444444">'
    return Figure("In motion", "image/svg+xml", f"{head}{back}{text}{inside}</g></svg>".encode(), caption)


def _drawn(panel: Panel) -> str:
    scale = _SIDE / panel.side

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - panel.low[0]) * scale, _SIDE - (y - panel.low[1]) * scale

    bits = [f'<svg width="{_SIDE}" height="{_SIDE}"><rect width="{_SIDE}" height="{_SIDE}" fill="#f7f8f9"/>']
    for x, y in panel.walls:
        left, top = place(x, y + 1)
        bits.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{scale:.1f}" height="{scale:.1f}" fill="#c9ced3"/>'
        )
    for mover in panel.movers:
        points = [place(x, y) if math.isfinite(x + y) else None for x, y in mover.way.tolist()]
        bits.append(_disc(points, mover))
    bits.append("</svg>")
    return "".join(bits) + _axes(panel, scale)


def _disc(points: list[tuple[float, float] | None], mover: Mover) -> str:
    there = [point for point in points if point is not None]
    if not there:
        return ""
    # A disc out of sight waits, unseen, where it is next, or was last.
    full, known = [], there[0]
    for point in points:
        known = point or known
        full.append(known)
    trail = ""
    if mover.trail:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in there)
        trail = (
            f'<polyline points="{line}" fill="none" stroke="{mover.colour}" stroke-opacity="{mover.trail}"/>'
        )
    seconds = _STEP * len(points)

    def move(name: str, values: list[str], mode: str) -> str:
        return (
            f'<animate attributeName="{name}" values="{";".join(values)}" dur="{seconds:g}s" '
            f'calcMode="{mode}" repeatCount="indefinite"/>'
        )

    inside = move("cx", [f"{x:.1f}" for x, _ in full], "linear")
    inside += move("cy", [f"{y:.1f}" for _, y in full], "linear")
    if len(there) < len(points):
        inside += move("opacity", ["0" if point is None else "1" for point in points], "discrete")
    x, y = full[-1]
    return (
        f'{trail}<circle cx="{x:.1f}" cy="{y:.1f}" r="{mover.size:g}" fill="{mover.colour}" '
        f'fill-opacity="0.8">{inside}</circle>'
    )


def _axes(panel: Panel, scale: float) -> str:
    """Ticks at round numbers of metres along both sides."""
    step = next(
        size for k in range(-3, 6) for size in (10.0**k, 2 * 10.0**k, 5 * 10.0**k) if panel.side <= 5 * size
    )
    bits = []
    for axis, low in enumerate(panel.low):
        for k in range(math.ceil(low / step), math.floor((low + panel.side) / step) + 1):
            at = (k * step - low) * scale
            if axis == 0:
                bits.append(f'<text x="{at:.1f}" y="{_SIDE + 12}" text-anchor="middle">{k * step:g}</text>')
            else:
                bits.append(f'<text x="-4" y="{_SIDE - at + 3:.1f}" text-anchor="end">{k * step:g}</text>')
    bits.append(f'<text x="{_SIDE / 2}" y="{_SIDE + 25}" text-anchor="middle">x / m</text>')
    bits.append(f'<text transform="translate(-24,{_SIDE / 2}) rotate(-90)" text-anchor="middle">y / m</text>')
    return "".join(bits)
