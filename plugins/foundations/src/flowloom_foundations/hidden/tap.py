"""What a block inside a network says on the way to its answer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.state import Cond, State


def tapped(model: nn.Module, block: str, x: State, t: Tensor, cond: Cond) -> tuple[State, Tensor]:
    """A network's answer, and the features that one of its blocks makes on the way, pooled.

    Tokens ``(batch, length, width)`` are averaged over the length, maps ``(batch, channels, *grid)`` over
    the grid.

    Args:
        model: the network, not compiled.
        block: dotted name of the block in it: ``blocks.1`` of a DiT, ``inner.1`` of an MLP.
        x: states.
        t: times ``(batch,)``.
        cond: conditions.

    Returns:
        The answer, and features ``(batch, width)`` in single precision.

    Raises:
        IncompatibleError: the network has no such block, or it answers with something else.
    """
    try:
        inside = model.get_submodule(block)
    except AttributeError as error:
        names = ", ".join(name for name, _ in model.named_modules() if name.count(".") == 1)
        raise IncompatibleError(
            f"{type(model).__name__} has no block {block!r}; it has {names[:200]}"
        ) from error
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found.append(output)

    handle = inside.register_forward_hook(keep)
    try:
        answer = model(x, t, **cond)
    finally:
        handle.remove()
    if not found or not isinstance(found[-1], Tensor) or found[-1].ndim < 2:
        raise IncompatibleError(f"block {block!r} answers with no features ({type(model).__name__})")
    hidden = found[-1]
    if hidden.ndim == 3:
        hidden = hidden.mean(1)
    elif hidden.ndim > 3:
        hidden = hidden.flatten(2).mean(2)
    return answer, hidden.float()
