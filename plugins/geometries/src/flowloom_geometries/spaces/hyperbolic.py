"""What the two models of hyperbolic space share: the curvature and scalar functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.geometry import Geometry


def sinhc(x: Tensor) -> Tensor:
    """``sinh(x) / x`` for ``x >= 0``, with value 1 and derivative 0 at 0."""
    safe = torch.where(x > 1e-3, x, torch.ones_like(x))
    return torch.where(x > 1e-3, safe.sinh() / safe, 1 + x.square() / 6)


def tanhc(x: Tensor) -> Tensor:
    """``tanh(x) / x`` for ``x >= 0``, with value 1 and derivative 0 at 0."""
    safe = torch.where(x > 1e-3, x, torch.ones_like(x))
    return torch.where(x > 1e-3, safe.tanh() / safe, 1 - x.square() / 3)


class Hyperbolic(Geometry):
    """Hyperbolic space of dimension ``dim`` and sectional curvature ``-curvature``.

    Args:
        dim: intrinsic dimension, 1 or more.
        curvature: minus the sectional curvature, positive.
    """

    point_ndim = 1

    def __init__(self, dim: int = 2, curvature: float = 1.0) -> None:
        if dim < 1:
            raise ValueError(f"hyperbolic space has dimension 1 or more, got {dim}")
        if not (curvature > 0 and math.isfinite(curvature)):
            raise ValueError(
                f"curvature is minus the sectional curvature and must be positive, got {curvature}"
            )
        self.dim: int = dim
        self.curvature = curvature
        self.root = math.sqrt(curvature)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, curvature={self.curvature:g})"
