"""The divergence of a field, exactly or by Hutchinson's estimate, without a Python loop over dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowloom.state import State, leaves

VectorField = Callable[[State], State]


def exact_divergence(
    fn: VectorField, x: State, *, forward: bool = True, chunk: int = 64
) -> tuple[State, Tensor]:
    """Value and divergence of ``fn`` at ``x``.

    The Jacobian's diagonal comes from one vectorised pass of forward-mode (or reverse-mode) derivatives
    over the unit vectors; rows of the batch must not see each other.

    Args:
        fn: maps a state to a tangent vector of the same structure.
        x: state of ``n`` entries a row, summed over parts.
        forward: forward mode; networks that are not safe under it take reverse mode.
        chunk: unit vectors in flight at a time; bounds memory at ``chunk`` forward passes.

    Returns:
        ``fn(x)`` and the divergence ``(batch,)``.
    """
    flat, unflatten = flatten(x)
    basis = torch.eye(flat.shape[1], device=flat.device, dtype=flat.dtype)

    def flat_fn(z: Tensor) -> Tensor:
        return flatten(fn(unflatten(z)))[0]

    if forward:

        def along(e: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = _jvp(flat_fn, flat, e.expand_as(flat))
            return value, slope @ e

        value: Tensor | None = None
        total = flat.new_zeros(flat.shape[0])
        for part in basis.split(chunk):
            # The primal does not depend on e, so vmap computes it once a chunk and not once a vector.
            value, diagonal = torch.func.vmap(along, out_dims=(None, 0))(part)  # type: ignore[arg-type]
            total = total + diagonal.sum(0)
        assert value is not None
        return unflatten(value), total

    value, pullback = _vjp(flat_fn, flat)

    def row(e: Tensor) -> Tensor:
        return pullback(e.expand_as(value))[0] @ e

    return unflatten(value), torch.func.vmap(row, chunk_size=chunk)(basis).sum(0)


def hutchinson_divergence(
    fn: VectorField, x: State, probe: State, *, forward: bool = True
) -> tuple[State, Tensor]:
    """Value of ``fn`` at ``x`` and the unbiased estimate ``<probe, J probe>`` of its divergence.

    Args:
        fn: maps a state to a tangent vector of the same structure.
        x: state.
        probe: random signs in the structure of ``x``; the same along a whole trajectory, so that the
            estimate is that of one smooth field.
        forward: forward or reverse mode.
    """
    flat, unflatten = flatten(x)
    direction, _ = flatten(probe)

    def flat_fn(z: Tensor) -> Tensor:
        return flatten(fn(unflatten(z)))[0]

    if forward:
        value, slope = _jvp(flat_fn, flat, direction)
    else:
        value, pullback = _vjp(flat_fn, flat)
        slope = pullback(direction)[0]
    return unflatten(value), (slope * direction).sum(1)


def flatten(state: State) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """All entries of a state side by side, ``(batch, n)``, and the way back."""
    if isinstance(state, Tensor):
        shape = state.shape
        return state.flatten(1) if state.ndim > 1 else state[:, None], lambda z: z.reshape(shape)
    rows = [leaf for _, leaf in leaves(state)]
    columns = [leaf.flatten(1) if leaf.ndim > 1 else leaf[:, None] for leaf in rows]
    sizes = [c.shape[1] for c in columns]

    def rebuild(z: Tensor) -> State:
        pieces = iter(zip(z.split(sizes, 1), rows, strict=True))

        def walk(node: State) -> State:
            if isinstance(node, dict):
                return {name: walk(part) for name, part in node.items()}
            piece, like = next(pieces)
            return piece.reshape(like.shape)

        return walk(state)

    return torch.cat(columns, 1), rebuild


def _jvp(fn: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    value, slope, *_ = torch.func.jvp(fn, (x,), (v,))
    return value, slope


def _vjp(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
    value, pullback, *_ = torch.func.vjp(fn, x)
    return value, pullback
