"""Random directions: over the whole sphere, coarse ones for images, and local ones by small convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.errors import IncompatibleError


def directions(
    shape: Sequence[int], count: int, generator: torch.Generator, size: int = 0, local: bool = False
) -> Tensor:
    """Unit vectors of a state, flattened: ``(count, d)``.

    Args:
        shape: of a state.
        count: how many.
        generator: of the draws.
        size: for images ``(channels, side, side)``: drawn at ``size x size`` and enlarged; 0 for full size.
        local: pulled back from one output of a random stack of two small convolutions, for images.

    Raises:
        IncompatibleError: the state is no image, and coarse or local directions are wanted.
    """
    shape = tuple(shape)
    if (size or local) and len(shape) != 3:
        raise IncompatibleError(
            f"coarse and local directions are for images (C, H, W), not states of {shape}"
        )
    if not size and not local:
        return F.normalize(torch.randn(count, torch.Size(shape).numel(), generator=generator), dim=1)
    height, width = (size, size) if size else shape[1:]
    drawn = (
        _local(shape[0], height, width, count, generator)
        if local
        else torch.randn(count, shape[0], height, width, generator=generator)
    )
    if (height, width) != shape[1:]:
        drawn = F.interpolate(drawn, size=shape[1:], mode="bicubic", align_corners=False)
    return F.normalize(drawn.flatten(1), dim=1)


def degrees(shape: Sequence[int], size: int) -> int:
    """Dimension of the space that directions of a size span."""
    return shape[0] * size * size if size else torch.Size(tuple(shape)).numel()


def _local(channels: int, height: int, width: int, count: int, draws: torch.Generator) -> Tensor:
    """Gradients of one output of conv(conv(x)) by x: a delta sent back through transposed convolutions."""
    inner = 4
    delta = torch.zeros(count, height * width)
    delta[torch.arange(count), torch.randint(height * width, (count,), generator=draws)] = 1.0
    dilation = 1 + int(torch.randint(2, (), generator=draws))
    first = torch.randn(count, inner, 3, 3, generator=draws)
    second = torch.randn(count * inner, channels, 3, 3, generator=draws)
    back = F.conv_transpose2d(delta.view(1, count, height, width), first, padding=1, groups=count)
    # Each output's channels have kernels of their own, and add up.
    wide = F.conv_transpose2d(back, second, padding=dilation, dilation=dilation, groups=count * inner)
    return wide.view(count, inner, channels, height, width).sum(1)
