"""Couplings by the distribution function of a mixture of logistics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image
from flowloom_likelihood.bijections.full_linear import FullLinear
from flowloom_likelihood.bijections.halves import Split, halves, joined
from flowloom_likelihood.bijections.logistic_mixture import LogisticMixture

CONTEXT = "coupling/context"
"""Condition that couplings hand to their networks: what a dequantiser knows of the data."""


class Said(NamedTuple):
    """What a network says of the half that moves.

    Args:
        log_scale: a, of the shape of the half.
        shift: b, of the same shape.
        mixture: None for an affine coupling.
    """

    log_scale: Tensor
    shift: Tensor
    mixture: LogisticMixture | None


class MixtureCoupling(Bijection):
    r"""One half moves by a mixture of logistics that a network tells from the other half.

    .. math:: y_2 = \mathrm{logit}\big(F(x_2; \pi, \mu, s)\big)\, e^{\tanh a} + b, \quad y_1 = x_1, \qquad
              \log|\det| = \sum \log f - \log F - \log(1 - F) + \tanh a

    (Ho et al., "Flow++", 1902.00275, section 3.2; the bounded a is that of the authors' code). All of it is
    computed in log space, and the inverse is found by bisection of the logit, which is well scaled in both
    tails. Without components it is the affine coupling :math:`y_2 = x_2 e^{\tanh a} + b`.

    Args:
        net: reads a half and says ``2 + 3 components`` numbers of every entry of the other.
        split: the halves.
        components: K.
        flip: which half moves.
    """

    def __init__(self, net: nn.Module, split: Split, components: int = 32, flip: bool = False) -> None:
        super().__init__()
        self.net, self.split, self.components, self.flip = net, split, components, flip

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = halves(x, self.split)
        return (second, first) if self.flip else (first, second)

    def _joined(self, still: Tensor, moved: Tensor) -> Tensor:
        return joined(moved, still, self.split) if self.flip else joined(still, moved, self.split)

    def _said(self, still: Tensor, cond: Cond, initialise: bool = False) -> Said:
        each = self.net(still, cond.get(CONTEXT), initialise).unflatten(1, (-1, 2 + 3 * self.components))
        each = each.movedim(2, -1)
        mixture = LogisticMixture.of(each[..., 2:]) if self.components else None
        return Said(each[..., 0].tanh(), each[..., 1], mixture)

    def _moved(self, x: Tensor, cond: Cond, initialise: bool) -> Image:
        still, moving = self._halves(x)
        log_scale, shift, mixture = self._said(still, cond, initialise)
        log_slope = log_scale
        if mixture is not None:
            log_slope = log_scale + mixture.log_slope(moving)
            moving = mixture.logit(moving)
        return self._joined(still, moving * log_scale.exp() + shift), log_slope.flatten(1).sum(1)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Move one half; one network call."""
        return self._moved(x, cond, initialise=False)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Move it back; one network call, and a bisection."""
        still, moved = self._halves(z)
        log_scale, shift, mixture = self._said(still, cond)
        moved = (moved - shift) * (-log_scale).exp()
        return self._joined(still, moved if mixture is None else mixture.quantile(moved))

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Start the network on ``x``."""
        return self._moved(x, cond, initialise=True)[0]


class HalfMixing(Bijection):
    """A full matrix of the channels for each of the two halves, the same at all its places.

    Args:
        channels: of a half.
        split: the halves.
    """

    def __init__(self, channels: int, split: Split) -> None:
        super().__init__()
        self.split: Split = split
        self.mixers = nn.ModuleList(FullLinear(channels, bias=False, noise=1e-3) for _ in range(2))

    def _both(self, x: Tensor, cond: Cond, whole: bool) -> Image:
        moved, total = [], x.new_zeros(len(x))
        for mixer, half in zip(self.mixers, halves(x, self.split), strict=True):
            assert isinstance(mixer, FullLinear)
            y, log_det = (mixer.transform if whole else mixer.unnormalised)(half, cond)
            moved.append(y)
            total = total + log_det
        return joined(moved[0], moved[1], self.split), total

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Mix both."""
        return self._both(x, cond, whole=True)

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Mix both; no determinant is computed."""
        return self._both(x, cond, whole=False)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Solve both."""
        first, second = halves(z, self.split)
        one, other = self.mixers
        assert isinstance(one, FullLinear)
        assert isinstance(other, FullLinear)
        return joined(one.inverse(first, cond), other.inverse(second, cond), self.split)
