"""States for checks: their shapes inferred, drawn, and compared."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.geometry import Discrete, Euclidean, Geometry, Product
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.state import Shape, State, expand, leaves, map_state, with_batch
from flowloom.testing.laws import Context, NotApplicable


def event_shape(geometry: Geometry, context: Context | None = None) -> Shape:
    """Event shape of one point of a geometry.

    Taken from the context, from the geometry's own ``point_shape`` where it has one, part by part for a
    product; else found by trying: a shape fits where ``random`` works and the rank of the tangent projection
    is the dimension that the geometry claims.

    Raises:
        NotApplicable: nothing fits; give ``shape=``.
    """
    if context is not None and context.shape is not None:
        return context.shape
    if geometry.point_shape is not None:
        return tuple(geometry.point_shape)
    if isinstance(geometry, Product):
        return {name: event_shape(inner) for name, inner in geometry.parts.items()}
    if isinstance(geometry, (Euclidean, Discrete)):
        return (3,)
    if geometry.point_ndim == 0:
        return ()
    dim = geometry.dim or 2
    sizes = dict.fromkeys([dim + 1, dim, *range(1, dim + 3)])
    candidates = [(k,) * geometry.point_ndim for k in sizes if k > 0]
    for shape in candidates:
        try:
            if _fits(geometry, shape):
                return shape
        except Exception:
            continue
    raise NotApplicable(f"no point shape of {geometry} found; give shape= or the attribute point_shape")


def _fits(geometry: Geometry, shape: tuple[int, ...]) -> bool:
    draws = torch.Generator().manual_seed(0)
    x = geometry.project(geometry.random((1, *shape), Draw(draws, dtype=torch.float64)))
    if tuple(x.shape) != (1, *shape) or not all_finite(x):
        return False
    if geometry.dim is None:
        return True
    size = math.prod(shape)
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    images = geometry.to_tangent(x.expand(size, *shape), basis).reshape(size, size)
    return int(torch.linalg.matrix_rank(images, atol=1e-6)) == geometry.dim


def draw_points(
    geometry: Geometry, context: Context, n: int, stream: int, dtype: torch.dtype = torch.float64
) -> Any:
    """``n`` random points of a geometry."""
    shape = with_batch(event_shape(geometry, context), n)
    return geometry.random(shape, Draw(context.generator(stream), dtype=dtype))


def noise_like(state: State, generator: torch.Generator) -> Any:
    """Standard normal entries in the structure and dtype of ``state``."""
    return map_state(lambda v: torch.randn(v.shape, generator=generator, dtype=v.dtype), state)


def scaled(state: State, factor: float | Tensor) -> Any:
    """Every leaf times a number, or times one number per row."""

    def leaf(v: Tensor) -> Tensor:
        if isinstance(factor, Tensor) and factor.ndim == 1:
            return v * expand(factor.to(v.dtype), v)
        return v * factor

    return map_state(leaf, state)


def minus(a: State, b: State) -> Any:
    """Leafwise difference."""
    return map_state(torch.sub, a, b)


def rows_max(state: State) -> Tensor:
    """Largest absolute entry of every row, over all leaves: ``(batch,)``; NaN counts as infinite."""
    rows = [
        torch.nan_to_num(leaf.detach().double().abs().flatten(1), nan=math.inf).amax(1)
        if leaf.ndim > 1
        else torch.nan_to_num(leaf.detach().double().abs(), nan=math.inf)
        for _, leaf in leaves(state)
        if leaf.numel()
    ]
    return torch.stack(rows).amax(0) if rows else torch.zeros(0)


def gap(a: State, b: State) -> float:
    """Largest absolute difference of two states; NaN anywhere is infinite."""
    difference = map_state(lambda u, v: u.detach().double() - v.detach().double(), a, b)
    worst = rows_max(difference)
    return float(worst.max()) if worst.numel() else 0.0


def all_finite(state: State) -> bool:
    """Whether no leaf holds NaN or infinity."""
    return all(bool(leaf.isfinite().all()) for _, leaf in leaves(state))


def cast(state: State, dtype: torch.dtype) -> Any:
    """Floating leaves in another dtype; token ids stay."""
    return map_state(lambda v: v.to(dtype) if v.is_floating_point() else v, state)


def states_for(spec: Spec, n: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Any:
    """Random states of a spec: normal entries (uniform within ``limits``), uniform tokens."""
    if spec.parts:
        return {name: states_for(inner, n, generator, dtype) for name, inner in spec.parts.items()}
    if spec.vocab is not None:
        return torch.randint(spec.vocab, (n, *spec.shape), generator=generator)
    if spec.limits is not None:
        low, high = spec.limits
        return low + (high - low) * torch.rand((n, *spec.shape), generator=generator, dtype=dtype)
    return torch.randn((n, *spec.shape), generator=generator, dtype=dtype)


def conditions_for(spec: Spec, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Random conditions of a spec, each as its role wants it."""
    return {name: condition_for(c, n, generator, spec) for name, c in spec.conditions.items()}


def condition_for(
    condition: Condition, n: int, generator: torch.Generator, spec: Spec | None = None
) -> Tensor:
    """Entries as the role wants them: ids, numbers, lengths, or states of the part in question."""
    shape = (n, *condition.shape)
    if condition.role == "real":
        return mask_for(condition.shape, n, generator)
    if condition.role == "given":
        return torch.rand(shape, generator=generator) < 0.3
    if condition.role == "setting":
        return torch.rand(shape, generator=generator)
    if condition.role in ("values", "start") and spec is not None:
        states: Any = states_for(spec, n, generator)
        for name in condition.parts()[0].split(".") if condition.of else ():
            states = states[name]
        return states
    if condition.classes is not None:
        return torch.randint(condition.classes, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def mask_for(shape: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
    """Which entries are real: the first few along every dimension, in row 0 about half of them."""
    real = torch.ones((n, *shape), dtype=torch.bool)
    if not shape:
        return real
    lengths = torch.randint(1, shape[0] + 1, (n,), generator=generator)
    lengths[0] = max(1, shape[0] // 2)
    for axis, size in enumerate(shape):
        kept = torch.arange(size) < lengths[:, None]
        real = real & kept.reshape(n, *(size if k == axis else 1 for k in range(len(shape))))
    return real


def power_shape(geometry: Geometry, length: int) -> Any:
    """Event shape of ``length`` points of a geometry side by side, of every part of a product."""
    if isinstance(geometry, Product):
        return {name: power_shape(inner, length) for name, inner in geometry.parts.items()}
    if geometry.point_ndim == 0:
        return (length,) if not geometry.continuous else (length, 2)
    shape = event_shape(geometry)
    assert not isinstance(shape, dict)
    return (length, *shape[len(shape) - geometry.point_ndim :])


def marks_like(state: State, marks: Tensor) -> Any:
    """The same marks ``(batch, length)`` for every part of a state."""
    return map_state(lambda _: marks, state)


def spoiled(state: State, real: Any) -> Any:
    """The state with rubbish in padding: NaN, or the id -1."""

    def rubbish(v: Tensor) -> Tensor:
        return torch.full_like(v, math.nan if v.is_floating_point() else -1)

    return Layout(given=map_state(torch.logical_not, real), values=map_state(rubbish, state)).hold(state)
