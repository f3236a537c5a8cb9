"""Energies of which everything is known, to judge samplers by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom_gflownets.continuous.mixtures import von_mises


class Corners(Energy):
    r"""Minus the log of the corners' reward on the unit cube, in nats (2106.04399; 2301.12594, section 5.1).

    .. math:: R(x) = R_0 + \tfrac12 \prod_d 1[|y_d| > 0.25] + 2 \prod_d 1[0.3 < |y_d| < 0.4],
              \qquad y = x - 1/2

    Args:
        dims: d.
        floor: R0.
    """

    def __init__(self, dims: int = 2, floor: float = 0.1) -> None:
        if dims < 1 or not floor > 0:
            raise ValueError(f"corners have dims >= 1 and floor > 0, got {dims} and {floor}")
        self.floor, self.spec = floor, Spec((dims,), limits=(0.0, 1.0))
        self.log_partition = math.log(floor + 0.5 * 0.5**dims + 2 * 0.2**dims)

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """``-log R`` of ``(n, d)``: ``(n,)``; its gradient is 0."""
        assert isinstance(x, Tensor)
        away = (x - 0.5).abs()
        outer = (away > 0.25).all(-1).to(x.dtype)
        ring = ((away > 0.3) & (away < 0.4)).all(-1).to(x.dtype)
        return -(self.floor + 0.5 * outer + 2.0 * ring).log() + 0 * x.sum(-1)


class Funnel(Energy):
    r"""Neal's funnel: :math:`x_1 \sim N(0, 3^2)`, the others :math:`N(0, e^{x_1})`; normalised.

    Args:
        dims: of all.
    """

    log_partition = 0.0

    def __init__(self, dims: int = 10) -> None:
        if dims < 2:
            raise ValueError(f"a funnel has dims >= 2, got {dims}")
        self.spec = Spec((dims,))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the log density of ``(n, d)``."""
        assert isinstance(x, Tensor)
        first, others = x[:, 0], x[:, 1:]
        squares = first.square() / 9 + others.square().sum(-1) * (-first).exp()
        return 0.5 * (squares + others.shape[1] * first + x.shape[1] * math.log(2 * math.pi)) + math.log(3)


class ManyWell(Energy):
    r"""Pairs of a double well and a normal.

    .. math:: E(x) = \sum_i x_{2i}^4 - 6 x_{2i}^2 - \tfrac12 x_{2i} + \tfrac12 x_{2i+1}^2

    ``2^(dims / 2)`` modes; the log partition is found by quadrature.

    Args:
        dims: even.
    """

    def __init__(self, dims: int = 32) -> None:
        if dims < 2 or dims % 2:
            raise ValueError(f"many wells have an even number of dims, got {dims}")
        self.spec = Spec((dims,))
        # Every recipe of any domain knows this plugin's kind of part, and only this needs the library.
        from scipy import integrate

        one = integrate.quad(lambda x: math.exp(-(x**4) + 6 * x**2 + 0.5 * x), -6, 6)[0]
        self.log_partition = dims / 2 * (math.log(one) + 0.5 * math.log(2 * math.pi))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Of ``(n, d)``: ``(n,)``."""
        assert isinstance(x, Tensor)
        well, normal = x[:, 0::2], x[:, 1::2]
        return (well.pow(4) - 6 * well.square() - 0.5 * well + 0.5 * normal.square()).sum(-1)


class TorusMixture(Energy):
    """Minus the log of a mixture of products of von Mises laws: normalised.

    Args:
        means: angles, ``(k, d)``.
        concentration: of every angle of every component.
        weights: one for every component, positive; equal where left out.
    """

    log_partition = 0.0

    def __init__(
        self,
        means: Sequence[Sequence[float]] = ((1.0, 1.0), (3.0, 5.0), (5.0, 2.5)),
        concentration: float = 8.0,
        weights: Sequence[float] = (),
    ) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64, device="cpu")
        if self.means.ndim != 2 or not self.means.numel() or not concentration > 0:
            raise ValueError(
                f"give rows of angles and a positive concentration, got {means} and {concentration}"
            )
        raw = torch.as_tensor(weights or [1.0] * len(self.means), dtype=torch.float64, device="cpu")
        if raw.shape != (len(self.means),) or bool((raw <= 0).any()):
            raise ValueError(f"give a positive weight for each of the {len(self.means)} components")
        self.weights, self.concentration = raw / raw.sum(), float(concentration)
        self.spec = Spec((self.means.shape[1],))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the log density of angles ``(n, d)``."""
        assert isinstance(x, Tensor)
        concentration = torch.as_tensor(self.concentration, dtype=x.dtype, device=x.device)
        each = von_mises(x[:, None] - self.means.to(x), concentration).sum(-1)
        return -torch.logsumexp(each + self.weights.to(x).log(), 1)
