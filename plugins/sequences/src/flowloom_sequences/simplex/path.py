"""The Dirichlet path."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Geometry
from flowloom.paths import Kind, Path, Point
from flowloom.sources import Source
from flowloom.state import State, Time, expand
from flowloom_sequences.simplex.geometry import FlatSimplex
from flowloom_sequences.simplex.speed import SpeedTable


class DirichletPath(Path):
    r"""Given the token i, :math:`x_t \sim \mathrm{Dir}(1 + s e_i)` (Stark et al. 2402.05841).

    The paper's time is the concentration :math:`a = 1 + s`, from 1 on; here
    :math:`s = (a_{max} - 1)\, t`, so that t = 0 is uniform on the simplex, and t = 1 the concentration
    ``largest``, at which the token is all but decided and a solver finishes with the posterior. (The laws of
    training times in the paper go on beyond; see `ExponentialTimes`.)

    A draw starts from x0: with :math:`B \sim \mathrm{Beta}(s, K)`, :math:`x_t = (1 - B) x_0 + B e_i` has
    exactly that law for x0 uniform on the simplex, equals x0 at t = 0, and costs two gamma variables a token
    instead of K. ``velocity`` of a point is the conditional velocity :math:`c(x_i, a)(e_i - x)\, da/dt`; it
    belongs to the law of x_t given the token, not to the way of one draw.

    Args:
        largest: the concentration at t = 1.
        geometry: the flat simplex; injected from the recipe.
    """

    pathwise = False
    arrives = False

    def __init__(self, largest: float = 8.0, geometry: Geometry | None = None) -> None:
        if largest <= 1:
            raise ValueError(f"largest must exceed 1, got {largest}")
        if geometry is not None and not isinstance(geometry, FlatSimplex):
            raise IncompatibleError(f"path dirichlet runs on geometry: flat-simplex, not on {geometry}")
        self.largest = largest
        self.geometry = geometry or FlatSimplex()
        self._speeds: dict[int, SpeedTable] = {}

    def concentration(self, t: Tensor) -> Tensor:
        """``a = 1 + (largest - 1) t``."""
        return 1 + (self.largest - 1) * t

    def _speed(self, b: Tensor, t: Tensor, classes: int) -> Tensor:
        table = self._speeds.setdefault(classes, SpeedTable(classes, self.largest))
        return table(b, self.concentration(t)) * (self.largest - 1)

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """Draw x_t given uniform x0 and one-hot x1, both ``(batch, ..., K)``."""
        if not isinstance(x0, Tensor) or not isinstance(x1, Tensor) or not isinstance(t, Tensor):
            raise ShapeError("path dirichlet carries one tensor of rows; use path: product for parts")
        if x1.shape[-1] < 2:
            raise ShapeError(f"a simplex needs at least 2 classes, got rows of {x1.shape[-1]}")
        classes = x1.shape[-1]
        rows = x1.shape[:-1]
        s = (self.concentration(expand(t.to(x1.dtype), x1[..., 0])) - 1).expand(rows).contiguous()
        towards = torch.where(s > 0, torch._standard_gamma(s.clamp_min(1e-6), generator=generator), 0)
        away = torch._standard_gamma(torch.full_like(s, float(classes)), generator=generator)
        share = (towards / (towards + away))[..., None]
        x_t = torch.lerp(x0, x1, share)
        own = (x_t * x1).sum(-1, keepdim=True)
        velocity = self._speed(own, expand(t.to(x1.dtype), x1), classes) * (x1 - x_t)
        return Point(x_t, t, velocity, x0, x1)

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Posteriors over the vertices into velocities."""
        return given == wanted or (given, wanted) == ("posterior", "velocity")

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        r""":math:`\sum_i p_i\, c(x_i, a)(e_i - x)\, da/dt` of the posterior with logits ``value``."""
        assert isinstance(value, Tensor) and isinstance(x, Tensor) and isinstance(t, Tensor)
        weight = torch.softmax(value, -1) * self._speed(x, expand(t.to(x.dtype), x), x.shape[-1])
        return weight - x * weight.sum(-1, keepdim=True)
