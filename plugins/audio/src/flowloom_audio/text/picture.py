"""Text against frames, as a picture inside a page."""

from __future__ import annotations

import html
from collections.abc import Sequence

from torch import Tensor

__all__ = ["alignment_picture"]

_LINE = 9


def alignment_picture(symbols: Sequence[str], said: Tensor, width: int = 220) -> str:
    """An SVG: time to the right, as long as a spectrogram of that width; a line for every symbol, downwards.

    Args:
        symbols: text of each, at least one; a space is shown as an open box.
        said: the symbol of every frame ``(frames,)``, as `spread` or `monotonic_alignment` give it; negative
            where a frame says none.
        width: of the picture, in pixels.
    """
    height, frames = _LINE * len(symbols), max(1, len(said))
    bars, first = [], 0
    values = said.tolist()
    for f in range(1, len(values) + 1):
        if f < len(values) and values[f] == values[first]:
            continue
        if values[first] >= 0:
            x, long = width * first / frames, width * (f - first) / frames
            bars.append(
                f'<rect x="{x:.1f}" y="{_LINE * values[first]}" width="{long:.1f}" height="{_LINE}"/>'
            )
        first = f
    shown = [name.replace(" ", "\u2423") for name in symbols]
    names = "".join(
        f'<text x="{width + 3}" y="{_LINE * (i + 1) - 1}">{html.escape(name)}</text>'
        for i, name in enumerate(shown)
    )
    return (
        f'<svg role="img" aria-label="text against frames" width="{width + 14}" height="{height}" '
        f'font-size="{_LINE}" font-family="monospace" fill="currentColor">'
        f'<g fill="#b5367a">{"".join(bars)}</g>{names}</svg>'
    )
