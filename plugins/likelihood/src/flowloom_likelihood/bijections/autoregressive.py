"""Tokens that are moved one after the other, each by what came before it."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.conditions import doubled
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Chain, Image
from flowloom_likelihood.bijections.causal_net import CausalNet, Moments, Reading, TokenLaws


class Autoregressive(Bijection):
    r"""An affine autoregressive map of tokens ``(batch, T, c)`` (TARFlow, 2412.06329, section 2.2).

    .. math:: z_i = \frac{x_i - \mu(x_{<i})}{\sigma(x_{<i})}, \qquad \log|\det| = -\sum_i \log\sigma(x_{<i})

    Data to noise takes one call of the network. The inverse, :math:`x_i = z_i \sigma(x_{<i}) +
    \mu(x_{<i})`, takes one for every token, which reads that token alone: keys and values of the others are
    remembered.

    Args:
        net: tells means and scales.
        flip: take the tokens from the last to the first.
    """

    def __init__(self, net: TokenLaws, flip: bool = False) -> None:
        super().__init__()
        self.net, self.flip = net, flip

    @property
    def rounds(self) -> int:  # type: ignore[override]
        """Tokens, times the branches of the network."""
        return self.net.grid[0] * self.net.grid[1] * self.net.branches

    def ordered(self, x: Tensor) -> Tensor:
        """Tokens in the order in which they are made, and back."""
        return x.flip(1) if self.flip else x

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """All tokens at once."""
        x = self.ordered(x)
        mean, log_scale = self.net(x, cond)
        z = (x - mean) * (-log_scale).exp()
        return self.ordered(z).to(x.dtype), -log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """One token after the other."""
        z, reading = self.ordered(z), self.net.begin()
        found = [z[:, :0]]
        for i in range(z.shape[1]):
            mean, log_scale = self.net.read(found[-1], cond, reading)
            found.append((z[:, i : i + 1] * log_scale.exp() + mean).to(z.dtype))
        return self.ordered(torch.cat(found, 1))

    def regenerate(self, z: Tensor, cond: Cond, context: Tensor) -> Tensor:
        """The inverse where the data are known: one call, whose context is ``context`` and not its result.

        At ``context = inverse(z)`` this is the inverse, and what it depends on is the noise.
        """
        mean, log_scale = self.net(self.ordered(context), cond)
        return self.ordered(self.ordered(z) * log_scale.exp() + mean)

    def jacobi(self, z: Tensor, cond: Cond, tolerance: float) -> tuple[Tensor, int]:
        """The inverse by fixed point iteration on all tokens at once, and the calls that it took.

        Starts at ``z`` and ends when the mean squared change is below ``tolerance`` squared times the mean
        square; after as many calls as there are tokens it is exact.
        """
        x, made = z, 0
        for _ in range(z.shape[1]):
            before, x, made = x, self.regenerate(z, cond, x), made + 1
            if bool((x - before).square().mean() <= tolerance**2 * x.square().mean()):
                break
        return x, made * self.net.branches


def iterated(bijection: Bijection, z: Tensor, cond: Cond, tolerance: float) -> tuple[Tensor, int]:
    """The inverse of a bijection whose autoregressive links go by `Autoregressive.jacobi`, and its calls."""
    if isinstance(bijection, Autoregressive):
        return bijection.jacobi(z, cond, tolerance)
    links = bijection.links if isinstance(bijection, Chain) else None
    if links is None:
        return bijection.inverse(z, cond), bijection.rounds
    total = 0
    for link in reversed(links):
        assert isinstance(link, Bijection)
        z, rounds = iterated(link, z, cond, tolerance)
        total += rounds
    return z, total


class GuidedNet(TokenLaws):
    r"""The laws of tokens, of a network that is told its conditions and of the same one that is not, mixed.

    The product of Gaussians :math:`p_c^{1+w} / p_u^w` is Gaussian (STARFlow, 2506.06276, section 3.4):

    .. math:: r = \min(\sigma_c^2 / \sigma_u^2, 1), \quad d = 1 + w - w r, \quad
              \sigma = \sigma_c / \sqrt d, \quad \mu = \big((1 + w) \mu_c - w r \mu_u\big) / d

    Both are asked in one call on the doubled batch.

    Args:
        net: that is asked.
        weight: w; 0 is the network itself.
    """

    branches = 2

    def __init__(self, net: TokenLaws, weight: float) -> None:
        super().__init__()
        self.net, self.weight, self.grid = net, weight, net.grid

    def begin(self) -> Reading:
        """Nothing has been read."""
        return self.net.begin()

    def read(self, x: Tensor, cond: Cond, reading: Reading) -> Moments:
        """Read on with both, and mix what they tell."""
        n = len(x)
        mean, log_scale = self.net.read(torch.cat([x, x]), doubled(cond, n, device=x.device), reading)
        return product((mean[:n], log_scale[:n]), (mean[n:], log_scale[n:]), self.weight)


def product(told: Moments, null: Moments, weight: float) -> Moments:
    """Moments of the normalised product of ``told ** (1 + weight)`` and ``null ** -weight``; see above."""
    ratio = (2 * (told[1] - null[1])).exp().clamp_max(1.0)
    share = 1 + weight - weight * ratio
    mean = ((1 + weight) * told[0] - weight * ratio * null[0]) / share
    return mean, told[1] - share.log() / 2


class CausalBlock(Autoregressive):
    """One autoregressive map of tokens by a causal transformer, as STARFlow stacks them.

    Args:
        tokens: their number.
        channels: numbers in every token.
        width: of the transformer.
        depth: its blocks.
        heads: of its attention.
        flip: take the tokens from the last to the first.
    """

    def __init__(
        self, tokens: int, channels: int, width: int = 64, depth: int = 2, heads: int = 4, flip: bool = False
    ) -> None:
        super().__init__(CausalNet((1, tokens), channels, width, depth, heads), flip)
        self.spec = Spec((tokens, channels))
