"""What a block inside a network says on the way to its answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models.overheard import overhear
from flowloom.state import Cond, State


def tapped(
    model: nn.Module, block: str, x: State, t: Tensor, cond: Cond, layout: Layout | None = None
) -> tuple[State, Tensor]:
    """A network's answer, and the features that one of its blocks makes on the way, pooled.

    Tokens ``(batch, length, width)`` are averaged over the length, maps ``(batch, channels, *grid)`` over
    the grid; over what is real where there is one of them for every entry of the layout.

    Args:
        model: the network, not compiled.
        block: dotted name of the block in it: ``blocks.1`` of a DiT, ``inner.1`` of an MLP.
        x: states.
        t: times ``(batch,)``.
        cond: conditions.
        layout: what is real of the states.

    Returns:
        The answer, and features ``(batch, width)`` in single precision.

    Raises:
        IncompatibleError: the network has no such block, or it answers with something else.
    """
    answer, hidden = overhear(model, block, lambda: model(x, t, **cond), kind="block")
    if not isinstance(hidden, Tensor) or hidden.ndim < 2:
        raise IncompatibleError(f"block {block!r} answers with no features ({type(model).__name__})")
    if hidden.ndim == 2:
        return answer, hidden.float()
    points = hidden if hidden.ndim == 3 else hidden.movedim(1, -1)
    real = None if layout is None else layout.real
    if isinstance(real, Tensor) and real.shape == points.shape[:-1]:
        kept = torch.where(real[..., None], points, 0.0).flatten(1, -2).sum(1)
        return answer, (kept / real.flatten(1).sum(1, keepdim=True).clamp_min(1)).float()
    return answer, (hidden.mean(1) if hidden.ndim == 3 else hidden.flatten(2).mean(2)).float()
