r"""The von Mises-Fisher law on S^2.

.. math:: K(x) = \frac{\kappa}{2\pi(1 - e^{-2\kappa})}\, e^{\kappa(\mu\cdot x - 1)}

Written around :math:`e^{-2\kappa}` it does not overflow, and with chords instead of cosines,
:math:`\mu \cdot x - 1 = -|x - \mu|^2 / 2`, sharp laws keep their digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import Draw


def log_peak(concentration: Tensor) -> Tensor:
    r"""Log density at the mean, per steradian: :math:`\log\frac{\kappa}{2\pi(1 - e^{-2\kappa})}`."""
    return (concentration / (2 * math.pi)).log() - torch.log(-torch.expm1(-2 * concentration))


def draw_around(mean: Tensor, concentration: Tensor, draw: Draw) -> Tensor:
    """One exact draw around every mean: the height along it by inversion, the rest uniform on a circle.

    Args:
        mean: unit vectors, float64 ``(n, 3)``.
        concentration: of each, float64 ``(n, 1)``.
        draw: in float64.

    Returns:
        Unit vectors, float64 ``(n, 3)``.
    """
    u = draw.uniform((len(mean), 1))
    fall = -torch.log(u + (1 - u) * torch.exp(-2 * concentration)) / concentration
    side = draw.normal((len(mean), 3))
    side = side - (side * mean).sum(1, keepdim=True) * mean
    side = side / side.norm(dim=1, keepdim=True)
    x = (1 - fall) * mean + (fall * (2 - fall)).clamp_min(0).sqrt() * side
    return x / x.norm(dim=1, keepdim=True)
