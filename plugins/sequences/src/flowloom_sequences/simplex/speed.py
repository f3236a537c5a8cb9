r"""The scalar speed of the Dirichlet conditional flow, to full precision.

For :math:`p(x | x_1 = e_i) = \mathrm{Dir}(1 + (a - 1) e_i)` the flow that raises a moves x straight towards
:math:`e_i` at :math:`c(x_i, a)(e_i - x)` with (Stark et al. 2402.05841, eq. 14; n = K - 1)

.. math:: c(b, a) = -\frac{\partial I_b(a, n)}{\partial a}\, \frac{B(a, n)}{b^{a-1} (1-b)^n}.

The derivative of the regularised incomplete beta function I underflows, and B with it, for large alphabets.
With :math:`m = E[\ln U] = \psi(a) - \psi(a + n)` under Beta(a, n),
:math:`-\partial_a I_b = \int_0^b f(u)(m - \ln u) du = \int_b^1 f(u)(\ln u - m) du`: the first integrand is
positive for :math:`b \le e^m`, the second for :math:`b \ge e^m`, so that neither loses digits. Divided by the
density they become

.. math::
    c &= \frac{b}{1-b} \int_0^1 v^{a-1} \Big(\frac{1-bv}{1-b}\Big)^{n-1} (m - \ln b - \ln v)\, dv
        & (b \le e^m) \\
    c &= \int_0^1 v^{n-1} \Big(\frac{1-(1-b)v}{b}\Big)^{a-1} (\ln(1-(1-b)v) - m)\, dv & (b \ge e^m)

which are quadratures of bounded functions: nothing underflows at any K.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from scipy.special import digamma, roots_jacobi, roots_legendre
from torch import Tensor

_NODES = 96


@functools.lru_cache(maxsize=8)
def _gauss() -> tuple[Any, Any]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = roots_legendre(_NODES)
    return (nodes + 1) / 2, weights / 2


@functools.lru_cache(maxsize=32)
def _gauss_jacobi(n: int) -> tuple[Any, Any]:
    """Nodes and weights on [0, 1] for the weight ``v^(n-1)``."""
    nodes, weights = roots_jacobi(_NODES, 0, n - 1)
    return (nodes + 1) / 2, weights / weights.sum() / n


def exact_speed(b: Any, a: Any, classes: int) -> Any:
    """``c(b, a)`` in float64 numpy, broadcasting ``b`` in [0, 1] against ``a >= 1``.

    At ``b = 0`` it is 0, at ``b = 1`` the limit ``(psi(a + n) - psi(a)) / n``.

    Args:
        b: entries ``x_i``.
        a: concentrations.
        classes: K, at least 2.
    """
    b, a = np.broadcast_arrays(np.asarray(b, np.float64), np.asarray(a, np.float64))
    n = classes - 1
    m = digamma(a) - digamma(a + n)
    z, w = _gauss()
    out = np.zeros(b.shape)
    low = (np.log(np.maximum(b, 1e-300)) <= m) & (b > 0)
    high = ~low & (b > 0)
    if low.any():
        bb, aa, mm = b[low][:, None], a[low][:, None], m[low][:, None]
        # v = z^4 flattens the logarithm at 0: dv = 4 z^3 dz.
        v, dv = z**4, 4 * z**3 * w
        ratio = np.exp((aa - 1) * np.log(v) + (n - 1) * (np.log1p(-bb * v) - np.log1p(-bb)))
        values = ratio * (mm - np.log(bb) - np.log(v))
        out[low] = (bb[:, 0] / (1 - bb[:, 0])) * (values * dv).sum(1)
    if high.any():
        bb, aa, mm = b[high][:, None], a[high][:, None], m[high][:, None]
        v, dv = _gauss_jacobi(n)
        inside = bb + (1 - bb) * (1 - v)
        values = np.exp((aa - 1) * (np.log(inside) - np.log(bb))) * (np.log(inside) - mm)
        out[high] = (values * dv).sum(1)
    return out


class SpeedTable:
    """``c`` on a grid in (sqrt(b), a), read by bilinear interpolation on any device.

    Args:
        classes: K.
        largest: largest concentration.
        rows: grid points in a.
        columns: grid points in sqrt(b).
    """

    def __init__(self, classes: int, largest: float, rows: int = 256, columns: int = 512) -> None:
        self.classes, self.largest, self.rows, self.columns = classes, largest, rows, columns
        self._tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def _table(self, like: Tensor) -> Tensor:
        key = (like.device, like.dtype)
        if key not in self._tables:
            values = _computed(self.classes, self.largest, self.rows, self.columns)
            self._tables[key] = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        return self._tables[key]

    def __call__(self, b: Tensor, a: Tensor) -> Tensor:
        """``c(b, a)``, with ``a`` broadcasting against ``b``; error about 1e-4 of the largest value."""
        table = self._table(b)
        y = b.clamp(0, 1).sqrt() * (self.columns - 1)
        s = ((a - 1) / (self.largest - 1)).clamp(0, 1) * (self.rows - 1)
        j, i = y.floor().clamp(max=self.columns - 2), s.floor().clamp(max=self.rows - 2)
        fy, fs = y - j, s - i
        at = (i * self.columns + j).long()
        flat = table.flatten()
        lower = torch.lerp(flat[at], flat[at + 1], fy)
        upper = torch.lerp(flat[at + self.columns], flat[at + self.columns + 1], fy)
        return torch.lerp(lower, upper, fs.expand_as(lower))


@functools.lru_cache(maxsize=16)
def _computed(classes: int, largest: float, rows: int, columns: int) -> Any:
    y = np.linspace(0, 1, columns)
    a = np.linspace(1, largest, rows)
    # Row by row, to hold one (columns, nodes) block at a time.
    return np.stack([exact_speed(y**2, value, classes) for value in a])
