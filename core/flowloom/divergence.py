"""The divergence of a field, exactly or by Hutchinson's estimate, without a Python loop over dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowloom.state import State, leaves

__all__ = ["VectorField", "exact_divergence", "flatten", "hutchinson_divergence"]

VectorField = Callable[[State], State]


def exact_divergence(
    fn: VectorField, x: State, *, forward: bool = False, chunk: int = 64
) -> tuple[State, Tensor]:
    """Value and divergence of ``fn`` at ``x``.

    The Jacobian's diagonal comes from one evaluation of ``fn`` and one backward pass over it per entry of
    a row, many of them vectorised; rows of the batch must not see each other. Where gradients are
    enabled they flow through both results, at some extra cost: use ``torch.no_grad`` where none are wanted.

    Args:
        fn: maps a state to a tangent vector of the same structure.
        x: state of ``n`` entries a row, summed over parts.
        forward: forward mode instead, which composes with the transforms of ``torch.func`` but costs about
            twice as much on smooth activations.
        chunk: unit vectors in flight at a time; bounds memory.

    Returns:
        ``fn(x)`` and the divergence ``(batch,)``.
    """
    flat, unflatten = flatten(x)
    basis = torch.eye(flat.shape[1], device=flat.device, dtype=flat.dtype)

    def flat_fn(z: Tensor) -> Tensor:
        return flatten(fn(unflatten(z)))[0]

    if forward:
        value, total = _forward_diagonal(flat_fn, flat, basis, chunk)
        return unflatten(value), total
    value, pull = _backward(flat_fn, flat)
    if not _worth_vectorising(flat):
        directions = basis[:, None].expand(-1, *flat.shape).unbind()
        columns = [pull(e)[:, k] for k, e in enumerate(directions)]
        total = torch.stack(columns).sum(0)
    else:
        total = flat.new_zeros(flat.shape[0])
        for part in basis.split(chunk):
            # Not is_grads_batched: its older vmap takes many activations apart, row by row.
            rows = torch.func.vmap(pull)(part[:, None].expand(-1, *flat.shape))
            total = total + torch.einsum("kbn,kn->b", rows, part)
    return unflatten(value), total


def hutchinson_divergence(
    fn: VectorField, x: State, probe: State, *, forward: bool = False
) -> tuple[State, Tensor]:
    """Value of ``fn`` at ``x`` and the unbiased estimate ``<probe, J probe>`` of its divergence.

    Args:
        fn: maps a state to a tangent vector of the same structure.
        x: state.
        probe: random signs in the structure of ``x``; the same along a whole trajectory, so that the
            estimate is that of one smooth field.
        forward: forward or reverse mode, as in `exact_divergence`.
    """
    flat, unflatten = flatten(x)
    direction, _ = flatten(probe)

    def flat_fn(z: Tensor) -> Tensor:
        return flatten(fn(unflatten(z)))[0]

    if forward:
        value, slope, *_ = torch.func.jvp(flat_fn, (flat,), (direction,))
    else:
        value, pull = _backward(flat_fn, flat)
        slope = pull(direction)
    return unflatten(value), (slope * direction).sum(1)


def _worth_vectorising(x: Tensor) -> bool:
    """Whether the passes over ``x`` are faster side by side than one after another.

    An accelerator always gains. On a CPU small passes do, which are mostly bookkeeping; passes over many
    rows lose, because together they no longer fit the cache (measured, see ``docs/benchmarks.md``).
    """
    rows, entries = x.shape
    return x.device.type != "cpu" or (entries > 4 and rows <= min(16 * entries, 384))


def _backward(fn: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``fn(x)`` and its vector-Jacobian product, which is safe under ``torch.func.vmap``."""
    if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        # Functional transforms nest, and work on tensors that plain autograd cannot save.
        result, pullback, *_ = torch.func.vjp(fn, x)
        return result, lambda direction: pullback(direction)[0]

    with torch.enable_grad():
        z = x.detach().requires_grad_()
        value = fn(z)

    def pull(direction: Tensor) -> Tensor:
        if not value.requires_grad:  # a constant field
            return torch.zeros_like(direction)
        (slope,) = torch.autograd.grad(value, z, direction, retain_graph=True, allow_unused=True)
        return torch.zeros_like(direction) if slope is None else slope

    return value.detach(), pull


def _forward_diagonal(
    fn: Callable[[Tensor], Tensor], x: Tensor, basis: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    def along(e: Tensor) -> tuple[Tensor, Tensor]:
        value, slope, *_ = torch.func.jvp(fn, (x,), (e.expand_as(x),))
        return value, slope @ e

    value, total = x, x.new_zeros(x.shape[0])
    for part in basis.split(chunk):
        # The primal does not depend on e, so vmap computes it once a chunk and not once a vector.
        value, diagonal = torch.func.vmap(along, out_dims=(None, 0))(part)  # type: ignore[arg-type]
        total = total + diagonal.sum(0)
    return value, total


def flatten(state: State) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """All entries of a state side by side, ``(batch, n)``, and the way back."""
    if isinstance(state, Tensor):
        if state.ndim == 2:
            # No views: each would be one more node of every backward pass.
            return state, lambda z: z
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
