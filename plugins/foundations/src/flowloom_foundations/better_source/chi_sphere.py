"""A Gaussian of many dimensions, seen from a few: any direction, and a radius that hardly varies."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.special import gammaincinv
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.sources import Source
from flowloom.state import Cond, expand


def chi_radii(quantiles: Tensor, degrees: float) -> Tensor:
    r"""Quantiles of :math:`\sqrt{\chi^2_k}`, in float64."""
    found = gammaincinv(degrees / 2, quantiles.double().cpu().numpy())
    return torch.as_tensor(found, device=quantiles.device).mul(2).sqrt()


class ChiSphere(Source):
    r"""A uniform direction, and a radius :math:`R \sqrt{\chi^2_k / k}` (2512.18184, the planar simulation).

    A Gaussian in k dimensions is a uniform direction times :math:`\chi_k`; with k = 3072 in the plane,
    paths are as long as those of CIFAR-10.

    Args:
        degrees: k.
        radius: R, the root mean square.
    """

    def __init__(self, degrees: float = 3072.0, radius: float = 1.0) -> None:
        if not degrees > 0 or not 0 < radius < math.inf:
            raise ValueError(f"degrees and radius must be positive, got {degrees} and {radius}")
        self.degrees, self.radius = degrees, radius

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """States of full shape ``shape``, one tensor."""
        normal = draw.normal(shape)
        radii = chi_radii(draw.in_dtype(torch.float64).uniform((shape[0],)), self.degrees)
        scale = self.radius / math.sqrt(self.degrees) * radii / normal.flatten(1).double().norm(dim=1)
        return normal * expand(scale.to(normal), normal)
