"""The wrapped normal: a source for spaces of infinite volume."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Cond, sum_event
from flowloom_geometries.spaces.hyperbolic import Hyperbolic, sinhc
from flowloom_geometries.spaces.lorentz import Lorentz
from flowloom_geometries.spaces.poincare import PoincareBall
from flowloom_geometries.spaces.spd import LogEuclideanSPD
from flowloom_geometries.spaces.spectral_function import symmetric_function


class WrappedNormal(Source):
    r"""``exp_o`` of a centred normal tangent at the origin, with its density on the manifold.

    On hyperbolic space :math:`\log p = \log N(|v|) - (n-1) \log \frac{\sinh(\sqrt c |v|)}{\sqrt c |v|}`
    with :math:`v = \log_o x` (Nagano et al. 1902.02992); on log-Euclidean matrices the exponential is an
    isometry.

    Args:
        geometry: `PoincareBall`, `Lorentz` or `LogEuclideanSPD`; injected from the recipe where none is
            given.
        std: of every coordinate of the tangent, in the metric.
    """

    def __init__(self, geometry: Geometry, std: float = 1.0) -> None:
        if not isinstance(geometry, (PoincareBall, Lorentz, LogEuclideanSPD)):
            raise IncompatibleError(
                f"source wrapped-normal needs hyperbolic space or log-euclidean matrices, not {geometry}"
            )
        if std <= 0:
            raise ValueError(f"std must be positive, got {std}")
        self.geometry, self.spread = geometry, std

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Points of full shape ``shape``."""
        space = self.geometry
        if self.spread == 1:
            return space.random(shape, draw)
        if isinstance(space, LogEuclideanSPD):
            unit = space.random(shape, draw)
            return symmetric_function(self.spread * symmetric_function(unit, "log"), "exp")
        unit = space.random(shape, draw)
        origin = self._origin(unit)
        return space.project(space.exp(origin, self.spread * space.log(origin, unit)))

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Log density with respect to the volume of the space, ``(batch,)``."""
        space = self.geometry
        assert space.dim is not None
        constant = space.dim * (0.5 * math.log(2 * math.pi) + math.log(self.spread))
        if isinstance(space, LogEuclideanSPD):
            squared = symmetric_function(x, "log").square().sum((-2, -1))
            points = -0.5 * squared / self.spread**2 - constant
            return sum_event(points) if layout is None else layout.sum(points)
        assert isinstance(space, Hyperbolic)
        radius = space.distance_point(self._origin(x), x)
        spread = (space.dim - 1) * sinhc(space.root * radius).log()
        points = -0.5 * (radius / self.spread).square() - constant - spread
        return sum_event(points) if layout is None else layout.sum(points)

    def _origin(self, like: Tensor) -> Tensor:
        return self.geometry.origin(like) if isinstance(self.geometry, Lorentz) else torch.zeros_like(like)
