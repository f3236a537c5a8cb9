"""Synthetic pages whose rules are known."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec
from flowloom_images.layouts.spec import layout_spec

NAMES = ("title", "text", "figure", "table", "footer")
_MARGIN, _GUTTER, _SPACE = 0.06, 0.04, 0.02


class Pages(Drawn):
    """Two-column pages: a title over both columns, one to five blocks in each, a footer; 4 to 12 elements.

    Blocks of a column fill it from edge to edge and touch nothing; two thirds are text, the others figures
    and tables, of which tables are the lower ones. Elements come in random order.

    Args:
        n: pages in every split.
        seed: of the pages.
    """

    elements = 12

    def __init__(self, n: int = 5000, seed: int = 0) -> None:
        super().__init__(n, seed)

    @property
    def spec(self) -> Spec:
        """Layouts of 12 elements of five types."""
        return layout_spec(self.elements, NAMES)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Pages."""
        return _pages(n, generator)


def _pages(n: int, draws: torch.Generator) -> Examples:
    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=draws)

    title, footer = 0.05 + 0.05 * uniform(), torch.full((n,), 0.03)
    top, bottom = _MARGIN + title + _SPACE, 1 - _MARGIN - footer - _SPACE
    width = (1 - 2 * _MARGIN - _GUTTER) / 2
    boxes, types, real = [_box(_MARGIN, _MARGIN, 1 - 2 * _MARGIN, title)], [torch.zeros(n)], [torch.ones(n)]
    for column in range(2):
        count = torch.randint(1, 6, (n, 1), generator=draws)
        there = torch.arange(5) < count
        # Shares of the column, none too thin, gaps taken off first.
        share = (0.4 + uniform(5)) * there
        share = share / share.sum(1, keepdim=True)
        height = share * (bottom - top - _SPACE * (count[:, 0] - 1))[:, None]
        start = top[:, None] + (height + _SPACE).cumsum(1) - (height + _SPACE)
        tall = height > 0.15
        other = (uniform(5) < 0.33).float() * torch.where(tall, 2.0, 3.0)
        for i in range(5):
            left = torch.full((n,), _MARGIN + column * (width + _GUTTER))
            boxes.append(_box(left, start[:, i], width, height[:, i]))
            types.append(torch.where(other[:, i] > 0, other[:, i], 1.0))
            real.append(there[:, i].float())
    boxes.append(_box(_MARGIN, 1 - _MARGIN - footer, 1 - 2 * _MARGIN, footer))
    types.append(torch.full((n,), 4.0))
    real.append(torch.ones(n))
    marks = torch.stack([torch.stack(types, 1), torch.stack(real, 1)], -1)
    everything = torch.cat([torch.stack(boxes, 1), marks], 2)
    # Real ones first and in random order.
    key = torch.where(everything[..., 5] > 0, uniform(12), 2.0)
    order = key.argsort(1)[..., None].expand(-1, -1, 6)
    ordered = everything.gather(1, order)
    exists = ordered[..., 5] > 0
    ordered = ordered * exists[..., None]
    state = {"position": ordered[..., :2], "size": ordered[..., 2:4], "types": ordered[..., 4].long()}
    return Examples(dict(state), {"real": exists})


def _box(left: Tensor | float, upper: Tensor | float, width: float, height: Tensor) -> Tensor:
    """Centre and size ``(n, 4)`` of boxes by their upper left corner."""
    wide, zero = torch.full_like(height, width), torch.zeros_like(height)
    return torch.stack([left + zero + wide / 2, upper + height / 2, wide, height], 1)
