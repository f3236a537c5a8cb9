"""States: a tensor, or a dict of states for a product space, and the few operations all rooms share.

A leaf has shape ``(batch, *event)``. A molecule, say, is ``{"pos": (B, N, 3), "types": (B, N)}``; all
leaves of one state share the batch dimension. Times have shape ``(batch,)``, or carry further leading
event dimensions (a time per token: ``(batch, L)``); a product state may have a time per part, as a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, Union

import torch
from torch import Tensor

from flowloom.errors import ShapeError

__all__ = [
    "Cond",
    "Shape",
    "State",
    "Time",
    "axpy",
    "batch_size",
    "concat",
    "expand",
    "first_leaf",
    "float_dtype",
    "leaves",
    "map_state",
    "part",
    "shape_of",
    "sum_event",
    "take",
    "to_device",
    "with_batch",
]

State: TypeAlias = Union[Tensor, "dict[str, State]"]
"""A tensor ``(batch, *event)``, or a dict of states for a product space."""
Time: TypeAlias = Union[Tensor, "dict[str, Time]"]
"""Times in [0, 1]: ``(batch,)``, ``(batch, *points)`` for a time per point, or a dict for a time per part."""
Cond: TypeAlias = Mapping[str, Tensor]
"""What travels beside the state, by name: tensors whose first dimension is the batch."""
Shape: TypeAlias = Union["tuple[int, ...]", "dict[str, Shape]"]
"""Sizes of a state, in its structure; with or without the batch as the name of a parameter says."""


def map_state(fn: Callable[..., Tensor], state: State, *others: Any) -> State:
    """Apply ``fn`` leaf by leaf.

    Further arguments may be states of the same structure; anything else (a tensor beside a dict state, a
    number) is handed to every leaf as it is.

    >>> map_state(torch.add, {"a": torch.ones(2)}, {"a": torch.ones(2)})
    {'a': tensor([2., 2.])}
    """
    if isinstance(state, dict):
        return {
            name: map_state(fn, part, *(o[name] if isinstance(o, dict) else o for o in others))
            for name, part in state.items()
        }
    return fn(state, *others)


def leaves(state: State, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield ``(dotted name, tensor)`` of every leaf, in insertion order; a bare tensor is named ``""``."""
    if isinstance(state, dict):
        for name, part in state.items():
            yield from leaves(part, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, state


def first_leaf(state: State) -> Tensor:
    """The first leaf, for its batch size, device and dtype."""
    while isinstance(state, dict):
        if not state:
            raise ShapeError("a product state has no parts")
        state = next(iter(state.values()))
    return state


def batch_size(state: State) -> int:
    """Number of rows of a state."""
    return first_leaf(state).shape[0]


def float_dtype(state: State) -> torch.dtype:
    """The dtype of the first floating leaf, or the default dtype where all leaves are token ids."""
    for _, leaf in leaves(state):
        if leaf.is_floating_point():
            return leaf.dtype
    return torch.get_default_dtype()


def shape_of(state: State) -> Shape:
    """The shapes of all leaves, in the structure of the state."""
    if isinstance(state, dict):
        return {name: shape_of(part) for name, part in state.items()}
    return tuple(state.shape)


def with_batch(shape: Shape, n: int) -> Shape:
    """Put a batch dimension of ``n`` in front of every event shape."""
    if isinstance(shape, dict):
        return {name: with_batch(part, n) for name, part in shape.items()}
    return (n, *shape)


def part(value: Any, name: str) -> Any:
    """The entry for part ``name`` of a time, seed or setting that may or may not be given per part."""
    return value[name] if isinstance(value, Mapping) else value


def expand(t: Tensor, x: Tensor) -> Tensor:
    """View a time of shape ``(batch, ...)`` so that it broadcasts against the trailing dimensions of ``x``.

    >>> expand(torch.zeros(4), torch.zeros(4, 3, 8, 8)).shape
    torch.Size([4, 1, 1, 1])
    """
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim < x.ndim else t


def take(state: State, rows: Tensor) -> State:
    """Rows of a state, in the order of the index tensor ``rows`` (shape ``(n,)``)."""
    return map_state(lambda leaf: leaf[rows], state)


def concat(states: Sequence[State]) -> State:
    """Concatenate states along the batch dimension."""
    head = states[0]
    if isinstance(head, dict):
        return {name: concat([s[name] for s in states]) for name in head}  # type: ignore[index]
    return torch.cat([s for s in states if isinstance(s, Tensor)])


def to_device(state: State, device: torch.device | str) -> State:
    """Move every leaf to a device."""
    return map_state(lambda leaf: leaf.to(device), state)


def axpy(x: State, scale: float | Tensor, direction: State) -> State:
    """``x + scale * direction``, leaf by leaf; a tensor ``scale`` of shape ``(batch,)`` is broadcast."""
    # First what solvers do at every stage: a call more for each leaf is felt beside a small step.
    if isinstance(x, Tensor) and isinstance(direction, Tensor) and not isinstance(scale, Tensor):
        return torch.add(x, direction, alpha=scale)
    if isinstance(scale, Tensor):
        return map_state(lambda a, d: a + expand(scale, a) * d, x, direction)
    return map_state(lambda a, d: torch.add(a, d, alpha=scale), x, direction)


def sum_event(values: Tensor) -> Tensor:
    """Sum over everything but the batch dimension: ``(batch, *event) -> (batch,)``."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values
