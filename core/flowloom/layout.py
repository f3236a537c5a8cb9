"""Layouts: which entries of a state are real, and which are given and stay.

Examples of different size are padded to one shape; prompts, frozen backbones and known pixels are part of a
state that must not move. Both are boolean leaves beside the state, made once a batch from the conditions that
the spec declares with a role, and asked by everybody: objectives, solvers, likelihoods, couplings, models and
metrics. No room has a rule of its own, and no leaf is masked because a dimension happens to have the same
size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import ShapeError
from flowloom.geometry import Geometry, Product
from flowloom.geometry.numerics import safe_sqrt
from flowloom.spec import Spec
from flowloom.state import Cond, State, concat, expand

__all__ = ["Layout", "mean_of_entries", "moments", "squared_distance"]


@dataclass(frozen=True)
class Layout:
    """What is real and what is given of the rows of one batch.

    A leaf has the leading dimensions of the state's leaf that it speaks of: ``(batch, N)`` beside positions
    ``(batch, N, 3)``, ``(batch, N, N)`` beside edges, ``(batch,)`` for a part as a whole. A leaf that is
    None, or absent from a dict, says nothing: everything there is real, and free.

    Args:
        real: True where an entry exists; False is padding.
        given: True where an entry is held.
        values: what stands at given entries, in the structure of the state.
    """

    real: Any = None
    given: Any = None
    values: Any = None

    @classmethod
    def of(cls, spec: Spec, cond: Cond) -> Layout | None:
        """The layout that conditions announce, None where they announce none, which costs nothing.

        What several conditions call real must be so for all of them; what any of them gives is given.

        Raises:
            ShapeError: there are values, and nothing says where they stand.
        """
        found: dict[str, Any] = {"real": None, "given": None, "values": None}
        for name, condition in spec.conditions.items():
            if condition.role not in found or cond.get(name) is None:
                continue
            value = cond[name] if condition.role == "values" else cond[name].bool()
            join = {"real": _and, "given": _or, "values": _instead}[condition.role]
            for part in condition.parts():
                found[condition.role] = _placed(found[condition.role], part, value, join)
        if found["values"] is not None and found["given"] is None:
            values, given = (", ".join(f"'{name}'" for name in spec.named(r)) for r in ("values", "given"))
            raise ShapeError(
                f"{values} holds the values of given entries, and nothing says where they are "
                f"({given or 'no condition of role given is declared'})"
            )
        return None if found["real"] is None and found["given"] is None else cls(**found)

    @property
    def free(self) -> Any:
        """True where an entry is real and not given; None where nothing is said."""
        return _both(self.real, self.given)

    def part(self, name: str) -> Layout | None:
        """The layout of one part of a product; None where nothing is said of it."""
        real, given, values = (_entry(v, name) for v in (self.real, self.given, self.values))
        return None if real is None and given is None else Layout(real, given, values)

    def at(self, dotted: str) -> Layout:
        """The layout of one leaf by its dotted name, empty for a bare tensor."""
        found: Layout | None = self
        for name in dotted.split(".") if dotted else ():
            found = found.part(name) if found is not None else None
        return found or Layout()

    def under(self, name: str) -> Layout:
        """The same of part ``name`` of a product, of whose other parts nothing is said."""
        return Layout(*(None if v is None else {name: v} for v in (self.real, self.given, self.values)))

    def take(self, rows: Tensor) -> Layout:
        """The layout of rows, in the order of the index tensor ``rows``."""
        return Layout(*(_mapped(lambda v: v[rows], v) for v in (self.real, self.given, self.values)))

    @classmethod
    def concat(cls, layouts: Sequence[Layout]) -> Layout:
        """The rows of all of them one after another; all say as much as the first."""
        said = {name: [getattr(one, name) for one in layouts] for name in ("real", "given", "values")}
        return cls(**{name: None if leaves[0] is None else concat(leaves) for name, leaves in said.items()})

    def to(self, device: torch.device | str) -> Layout:
        """The same layout on another device."""
        return Layout(*(_mapped(lambda v: v.to(device), v) for v in (self.real, self.given, self.values)))

    def holding(self, values: State) -> Layout:
        """The same layout with ``values`` at given entries: those of x1 in training."""
        return Layout(self.real, self.given, values)

    def fill(self, x: State) -> Any:
        """Padding replaced by a real point of the row: whatever stood there (NaN, id -1) is gone."""
        return _with(_filled, x, self.real)

    def zero(self, values: State) -> Any:
        """Padding set to 0, in value and gradient."""
        return _with(_zeroed, values, self.real)

    def still(self, velocity: State) -> Any:
        """Velocities of padding and of given entries set to 0, in value and gradient."""
        return _with(_zeroed, velocity, self.free)

    def stand(self, x: State, at: State) -> Any:
        """Padding and given entries replaced by those of ``at``, in value and gradient."""
        return _stood(x, at, self.free)

    def hold(self, x: State) -> Any:
        """Given entries set back to their values, where there are any."""
        return _held(x, self.given, self.values)

    def settled(self, x: State) -> tuple[Any, Layout]:
        """Where a solve starts from ``x``, and the layout that holds it: padding filled, given entries held.

        Where no values are known, what ``x`` has there is held.
        """
        start = self.hold(self.fill(x))
        return start, self.holding(start)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of every row over real and free entries: ``(batch, *points) -> (batch,)``; 0 of none.

        Dimensions behind those of the layout are averaged as they are.
        """
        return mean_of_entries(values, self.free)

    def sum(self, values: Tensor) -> Tensor:
        """Sum of every row over its real and free entries: ``(batch, *points) -> (batch,)``."""
        return _zeroed(values, self.free).flatten(1).sum(1) if values.ndim > 1 else _zeroed(values, self.free)

    def distance(self, geometry: Geometry, x: State, y: State) -> Tensor:
        """Geodesic distance over real and free entries (root of summed squares): ``(batch,)``."""
        return safe_sqrt(squared_distance(geometry, x, y, self))


def mean_of_entries(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of every row over the entries that count, all where None: ``(batch, *points) -> (batch,)``."""
    if counted is None:
        return values if values.ndim == 1 else values.flatten(1).mean(1)
    kept = _zeroed(values, counted).flatten(1).sum(1) if values.ndim > 1 else _zeroed(values, counted)
    size = counted.reshape(len(counted), -1).sum(1)
    rest = values.shape[counted.ndim :].numel()
    return kept / (size * rest).clamp_min(1)


def moments(x: Tensor, layout: Layout | None, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over some axes, without padding; in float64, since sums of half precision overflow.

    Args:
        x: values of any shape, padding too.
        layout: which of them are real; all where None.
        axes: that are summed over.

    Returns:
        both of the shape that is left, float64. The deviation divides by one less than the count; 0 of a
        single value.
    """
    x = x.double()
    kept = torch.ones_like(x)
    if layout is not None:
        x, kept = layout.zero(x), layout.zero(kept)
    axes = tuple(axes)
    count = kept.sum(axes)
    mean = x.sum(axes) / count.clamp_min(1)
    apart = x - mean.view([1 if axis in axes else size for axis, size in enumerate(x.shape)])
    return mean, ((kept * apart.square()).sum(axes) / (count - 1).clamp_min(1)).sqrt()


def squared_distance(geometry: Geometry, x: Any, y: Any, layout: Layout | None) -> Tensor:
    """Squared geodesic distance over real and free entries, part by part: ``(batch,)``."""
    if isinstance(geometry, Product):
        parts = [
            squared_distance(g, x[k], y[k], layout.part(k) if layout is not None else None)
            for k, g in geometry.parts.items()
        ]
        return torch.stack(parts).sum(0)
    if layout is not None:
        x, y = layout.fill(x), layout.fill(y)
    squares = geometry.distance_point(x, y).square()
    return squares.flatten(1).sum(1) if layout is None and squares.ndim > 1 else _sum(squares, layout)


def _sum(values: Tensor, layout: Layout | None) -> Tensor:
    return values if layout is None else layout.sum(values)


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _mapped(fn: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _mapped(fn, v) for k, v in value.items()}
    return None if value is None else fn(value)


def _both(real: Any, given: Any) -> Any:
    if isinstance(real, dict) or isinstance(given, dict):
        names = {**(real or {}), **(given or {})}
        return {name: _both(_entry(real, name), _entry(given, name)) for name in names}
    if given is None:
        return real
    return ~given if real is None else _and(real, ~given)


def _and(a: Tensor, b: Tensor) -> Tensor:
    """Both, one of them perhaps over fewer dimensions."""
    return expand(a, b) & expand(b, a)


def _or(a: Tensor, b: Tensor) -> Tensor:
    return expand(a, b) | expand(b, a)


def _instead(a: Tensor, b: Tensor) -> Tensor:
    return b


def _with(fn: Callable[[Tensor, Tensor], Tensor], x: Any, leaf: Any) -> Any:
    if leaf is None or x is None:  # jumps have no velocity
        return x
    if isinstance(x, dict) != isinstance(leaf, dict):
        has, says = ("parts", "one tensor") if isinstance(x, dict) else ("one tensor", "parts")
        raise ShapeError(f"the state has {has}, and its layout speaks of {says}")
    if isinstance(x, dict):
        return {name: _with(fn, value, _entry(leaf, name)) for name, value in x.items()}
    return fn(x, leaf)


def _fits(leaf: Tensor, x: Tensor) -> Tensor:
    if leaf.shape != x.shape[: leaf.ndim]:
        raise ShapeError(f"a layout of shape {tuple(leaf.shape)} does not fit states of {tuple(x.shape)}")
    return expand(leaf, x)


def _zeroed(x: Tensor, kept: Tensor | None) -> Tensor:
    # Where, not multiply: what stands in padding may be NaN.
    return (
        x if kept is None else torch.where(_fits(kept, x), x, torch.zeros((), dtype=x.dtype, device=x.device))
    )


def _filled(x: Tensor, real: Tensor) -> Tensor:
    wide = _fits(real, x)
    if not len(x):
        return x
    if real.ndim == 1:
        point = x[real.to(torch.uint8).argmax()]
        return torch.where(wide, x, torch.where(real.any(), point, torch.zeros_like(point)))
    points = x.flatten(1, real.ndim - 1)
    flat = real.flatten(1)
    first, some = flat.to(torch.uint8).argmax(1), flat.any(1)
    # A row of padding alone takes a point of a row that has one; where there is none, finite numbers do.
    donor = torch.where(some, torch.arange(len(x), device=x.device), some.to(torch.uint8).argmax())
    point = points[donor, first[donor]]
    point = torch.where(some.any(), point, torch.zeros_like(point))
    return torch.where(wide, x, point.reshape(len(x), *(1,) * (real.ndim - 1), *x.shape[real.ndim :]))


def _held(x: Any, given: Any, values: Any) -> Any:
    if given is None or values is None:
        return x
    if isinstance(x, dict):
        return {k: _held(v, _entry(given, k), _entry(values, k)) for k, v in x.items()}
    return torch.where(_fits(given, x), values.to(x.dtype), x)


def _stood(x: Any, at: Any, free: Any) -> Any:
    if free is None:
        return x
    if isinstance(x, dict):
        return {k: _stood(v, at[k], _entry(free, k)) for k, v in x.items()}
    return torch.where(_fits(free, x), x, at)


def _placed(tree: Any, part: str, value: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """``tree`` with ``value`` at the dotted ``part``, joined with what stands there."""
    if not part:
        return value if tree is None else join(tree, value)
    head, _, rest = part.partition(".")
    return {**(tree or {}), head: _placed(_entry(tree, head), rest, value, join)}
