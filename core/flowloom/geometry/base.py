"""The geometry contract.

Points and tangent vectors are tensors of shape ``(batch, *power, *point)``: the last ``point_ndim``
dimensions hold one point, any dimensions between them and the batch are a power of the space (the residues
of a chain, say) with the product metric. Every operation maps over powers; ``distance``, ``inner`` and
``norm`` sum over them and return shape ``(batch,)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import OffManifoldError, ShapeError
from flowloom.geometry.numerics import safe_sqrt
from flowloom.spec import Spec
from flowloom.state import Shape, expand, sum_event


class Geometry(ABC):
    """A Riemannian manifold, given in ambient (or periodic, or chart) coordinates.

    Subclasses supply ``project, to_tangent, exp, log, inner_point, random`` and, where the space is
    bounded, ``log_volume``; the rest follows. Closed forms should override ``geodesic``.

    Attributes:
        point_ndim: trailing dimensions of one point (1 for vectors, 2 for matrices).
        continuous: False for finite sets, which have points and ``random`` but no tangent vectors.
        flat: True where ``exp`` is addition, up to wrapping: solvers then use ordinary stages.
        straight: True where ``exp`` is addition without wrapping: R^n and pieces of it. Solvers then neither
            wrap nor project.
        dim: intrinsic dimension of one point, where it does not depend on the shape.
        full: True where every vector is tangent: flat coordinates, as many as there are dimensions.
        convex: True for a bounded piece of flat space (a box, say), which a long ``exp`` may leave.
        extent: of a convex space, about its width: what counts as outside is a share of it.
        geodesic_distance: False where ``distance`` is another metric (spectral, on a mesh).
        defaults: what a flow on this space is made of where nothing is said, as recipes name it: ``source``,
            ``path``, ``objective``, ``solver``, and ``step``, a solver that calls the network once a step,
            for products whose parts move in different ways. Words left out are the base class's.
        point_shape: shape of one point, where the space fixes it; data of another shape is then refused,
            and the conformance kit draws points of it instead of guessing.
    """

    point_ndim: int = 1
    continuous: bool = True
    flat: bool = False
    straight: bool = False
    dim: int | None = None
    full: bool = False
    convex: bool = False
    extent: float = 1.0
    point_shape: tuple[int, ...] | None = None
    geodesic_distance: bool = True
    defaults: ClassVar[Mapping[str, str]] = {
        "source": "uniform",
        "path": "geodesic",
        "objective": "flow-matching",
        "solver": "midpoint",
        "step": "euler",
    }

    # -- to be supplied ------------------------------------------------------------------------------

    @abstractmethod
    def project(self, x: Any) -> Any:
        """The nearest point of the manifold (or a cheap stand-in that fixes rounding): same shape."""

    @abstractmethod
    def to_tangent(self, x: Any, v: Any) -> Any:
        """Project the ambient vector ``v`` onto the tangent space at ``x``: same shape."""

    @abstractmethod
    def exp(self, x: Any, v: Any) -> Any:
        """The point reached from ``x`` by following the geodesic with tangent ``v`` for unit time."""

    @abstractmethod
    def log(self, x: Any, y: Any) -> Any:
        """The shortest tangent vector at ``x`` with ``exp(x, log(x, y)) = y``.

        On the cut locus (antipodes) the direction is not unique; implementations choose one, say which,
        and never return NaN.
        """

    @abstractmethod
    def inner_point(self, x: Any, u: Any, v: Any) -> Any:
        """Riemannian inner product of each point of a power: ``(batch, *power)``."""

    @abstractmethod
    def random(self, shape: Any, draw: Draw = GLOBAL) -> Any:
        """Points of full shape ``(n, *power, *point)``: uniform on a compact space, else a standard law."""

    def log_volume(self) -> float:
        """Log of the Riemannian volume of one point's space.

        Raises:
            NotImplementedError: the volume is infinite or not known.
        """
        raise NotImplementedError(f"{type(self).__name__} has no finite volume")

    def log_sqrt_det(self, x: Any) -> Any:
        """Log of the volume density of the coordinates, ``(batch,)``.

        Zero for isometric embeddings and for flat coordinates; charts (the Poincaré ball, say) override
        it, and the divergence of a field then gains ``<v, grad log_sqrt_det>``.
        """
        return x.new_zeros(x.shape[0])

    def violation(self, x: Any) -> Any:
        """How far each row is from the manifold, ``(batch,)``; 0 on it."""
        if not x.numel():
            return x.new_zeros(x.shape[0])
        return (self.project(x) - x).flatten(1).abs().amax(1)

    # -- derived -------------------------------------------------------------------------------------

    def geodesic(self, x0: Any, x1: Any, t: Any) -> tuple[Any, Any]:
        """The point at time ``t`` of the shortest geodesic from ``x0`` to ``x1``, and its velocity.

        Args:
            x0: points at t=0.
            x1: points at t=1.
            t: times of shape ``(batch,)`` (or with leading event dimensions).

        Returns:
            ``x_t`` and ``d x_t / d t``, both in the shape of ``x0``. This default follows
            ``exp_{x0}(t log_{x0} x1)`` and takes the velocity by forward-mode differentiation.
        """
        u = self.log(x0, x1)
        times = expand(t, u)

        def curve(time: Tensor) -> Tensor:
            return self.exp(x0, time * u)

        x_t, velocity, *_ = torch.func.jvp(curve, (times,), (torch.ones_like(times),))
        return x_t, velocity

    def inner(self, x: Any, u: Any, v: Any) -> Any:
        """Riemannian inner product, summed over a power: ``(batch,)``."""
        return sum_event(self.inner_point(x, u, v))

    def norm(self, x: Any, v: Any) -> Any:
        """Riemannian norm, with gradient 0 at 0: ``(batch,)``."""
        return safe_sqrt(self.inner(x, v, v))

    def distance_point(self, x: Any, y: Any) -> Any:
        """Geodesic distance of each point of a power: ``(batch, *power)``."""
        u = self.log(x, y)
        return safe_sqrt(self.inner_point(x, u, u))

    def distance(self, x: Any, y: Any) -> Any:
        """Geodesic distance (root of summed squares over a power): ``(batch,)``."""
        d = self.distance_point(x, y)
        if d.ndim == 1:
            return d
        return safe_sqrt(sum_event(d.square()))

    def has_points_in(self, event: tuple[int, ...]) -> bool:
        """Whether rows of this shape can hold points, as far as ``point_shape`` says."""
        return self.point_shape is None or event[-len(self.point_shape) :] == self.point_shape

    def points(self, shape: Shape) -> int:
        """How many points one example of event shape ``shape`` holds (1 unless it is a power)."""
        power = self._power(shape)
        count = 1
        for size in power:
            count *= size
        return count

    def degrees_of_freedom(self, shape: Shape) -> int:
        """Intrinsic dimension of one example of event shape ``shape``."""
        if self.dim is None:
            raise NotImplementedError(f"{type(self).__name__} does not say its dimension")
        return self.dim * self.points(shape)

    def log_uniform(self, shape: Shape) -> float:
        """Log density of the uniform law on a compact space, per example of event shape ``shape``."""
        return -self.points(shape) * self.log_volume()

    def require(self, x: Any, atol: float | None = None, name: str = "x") -> None:
        """Check that every row lies on the manifold.

        Raises:
            OffManifoldError: names the worst row and its distance.
            ShapeError: the batch is empty, points have another shape, or half precision is used, which no
                closed form survives.
        """
        self.require_precision(x, name)
        expected = self.point_shape
        if expected is not None and tuple(x.shape[1:])[-len(expected) :] != expected:
            raise ShapeError(
                f"{name} has rows of shape {tuple(x.shape[1:])}; points of {self} are {expected}"
            )
        off = self.violation(x)
        limit = atol if atol is not None else (1e-4 if off.dtype == torch.float32 else 1e-8)
        # NaN is off every manifold, and NaN > limit is False.
        bad = ~(off <= limit)
        if bool(bad.any()):
            row = int(torch.where(off.isnan(), torch.inf, off).argmax())
            how_many = f"{int(bad.sum())} of {len(off)} rows looked at"
            fault = f"off {self} by {float(off[row]):.3g} (allowed {limit:g}; {how_many})"
            raise OffManifoldError(name, row, f"{fault}; apply geometry.project first")

    def require_precision(self, x: Any, name: str = "x") -> None:
        """The part of `require` that costs nothing: there is a row, and its numbers have enough digits.

        Raises:
            ShapeError: the batch is empty, or in half precision.
        """
        if x.shape[0] == 0:
            raise ShapeError(f"{name} is an empty batch; give at least one row")
        if x.dtype in (torch.float16, torch.bfloat16):
            raise ShapeError(
                f"{name} is {str(x.dtype).removeprefix('torch.')}; {type(self).__name__} needs float32 or "
                "float64 (cast the points, and keep half precision for the network)"
            )

    def admit(self, x: Any, name: str = "x") -> None:
        """`require` for what a user hands in: points that are only turns away from a periodic chart pass."""
        self.require(self.wrap(x), name=name)

    def wrap(self, x: Any) -> Any:
        """The same points with whole turns of periodic coordinates taken off.

        Every operation does so, and angles from -pi to pi are as common as those from 0 to 2 pi; what knows
        no geometry (a metric, a plot) needs all of them in one range.
        """
        return self.project(x) if self.flat and not self.convex else x

    def _power(self, shape: Shape) -> Sequence[int]:
        if isinstance(shape, dict):
            raise ShapeError(f"{type(self).__name__} holds one tensor, not the parts {sorted(shape)}")
        return shape[: len(shape) - self.point_ndim] if self.point_ndim else shape

    def part(self, name: str) -> Geometry:
        """The space of one part of a state of several: a product's own for it, else the space itself."""
        return self

    def like(self, other: Geometry) -> bool:
        """Whether another space may stand for this one: of the same words, or pieces of R^n both."""
        return other is self or (self.straight and other.straight) or repr(other) == repr(self)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` this space cannot work with; see `flowloom.clashes`."""
        spec = parts.get("spec")
        if isinstance(spec, Spec) and (said := self.misfit(spec)):
            yield Clash("geometry", "data", said)

    def misfit(self, spec: Spec) -> str:
        """Why data of this spec are no points of the space, in one line; empty where they may be."""
        if spec.parts:
            return f"the data has the parts {sorted(spec.parts)}; use geometry: product with one each"
        if spec.discrete and self.continuous:
            return (
                f"the data is tokens (vocabulary {spec.vocab}), and {self} is continuous; "
                "use geometry: discrete, or a codec that embeds tokens"
            )
        if not spec.discrete and not self.continuous:
            return f"the data is real-valued, and {self} holds tokens"
        if not self.has_points_in(spec.shape):
            return f"points of {self} have the shape {self.point_shape}, the data has rows of {spec.shape}"
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
