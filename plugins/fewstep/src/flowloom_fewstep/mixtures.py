r"""Mixtures of isotropic Gaussians with one standard deviation, and what a flow makes of them.

With noise level s = 1 - t, :math:`x_t = t\,x_1 + s\,x_0`, the posterior :math:`p(x_1 | x_t)` of a mixture is
one, and so is the law of any later state: everything that a sampler asks between two evaluations is closed
(GMFlow, Chen et al. 2504.05304).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flowloom.draw import Draw
from flowloom.state import expand

__all__ = ["LEAST_NOISE", "Mixture", "Transition", "posterior", "transition"]

LEAST_NOISE = 1e-3
"""Noise level below which nothing is divided by it."""


@dataclass(frozen=True)
class Mixture:
    """K components a row, of one mixture over the whole event or of one at each of several places.

    Args:
        log_weights: normalised over the components, ``(batch, k)``; ``(batch, k, *places)`` where the event
            is cut into places with a mixture each, such as the pixels ``(1, height, width)`` of an image,
            whose vector of channels each mixture is over. A dimension of size 1 is within the places.
        means: ``(batch, k, *event)``.
        variance: of every entry of every component, ``(batch,)``.
    """

    log_weights: Tensor
    means: Tensor
    variance: Tensor

    @property
    def mean(self) -> Tensor:
        """``(batch, *event)``."""
        return (expand(self.log_weights.exp(), self.means) * self.means).sum(1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density without its constant ``log 2 pi``, in nats an entry, ``(batch,)``."""
        d = x[0].numel()
        squared = self._over_places((x[:, None] - self.means).square())
        each = self.log_weights - 0.5 * squared / expand(self.variance, squared)
        whole = each.logsumexp(1).reshape(len(x), -1).sum(1)
        return (whole - 0.5 * d * self.variance.log()) / d

    def sample(self, draw: Draw) -> Tensor:
        """One point a row, of a component chosen at each place."""
        places = self.log_weights.shape[2:]
        u = draw.uniform((len(self.means), 1, *places)).to(self.log_weights)
        chosen = (self.log_weights.exp().cumsum(1) < u).sum(1, keepdim=True)
        chosen = expand(chosen.clamp(max=self.means.shape[1] - 1), self.means)
        mean = self.means.gather(1, chosen.expand(-1, -1, *self.means.shape[2:]))[:, 0]
        return mean + expand(self.variance.sqrt(), mean) * draw.normal(mean.shape)

    def moved(self, x_a: Tensor, a: Tensor, x_b: Tensor, b: Tensor) -> Mixture:
        """The posterior of x1 at ``(x_b, b)`` of one that is that at ``(x_a, a)``, with times b >= a.

        Multiplied by the likelihood of the one state, divided by that of the other.
        """
        gained = (b / (1 - b)).square() - (a / (1 - a)).square()
        info = expand(b / (1 - b).square(), x_b) * x_b - expand(a / (1 - a).square(), x_a) * x_a
        own = 1 / self.variance
        precision = own + gained
        means = (expand(own, self.means) * self.means + info[:, None]) / expand(precision, self.means)

        def size(m: Tensor, p: Tensor) -> Tensor:
            squared = self._over_places(m.square())
            return 0.5 * expand(p, squared) * squared

        log_weights = self.log_weights + size(means, precision) - size(self.means, own)
        return Mixture(log_weights.log_softmax(1), means, 1 / precision)

    def _over_places(self, entries: Tensor) -> Tensor:
        """Sums of ``(batch, k, *event)`` over each place, in the shape of the weights."""
        places = self.log_weights.shape[2:]
        if not places:
            return entries.flatten(2).sum(-1)
        within = [i for i, size in enumerate(places, 2) if size == 1]
        return entries.sum(within, keepdim=True)


@dataclass(frozen=True)
class Transition:
    """``x_b | x_a, x1 ~ N(of_state x_a + of_data x1, variance)``, each ``(batch,)``."""

    of_state: Tensor
    of_data: Tensor
    variance: Tensor

    def law(self, x: Tensor, data: Mixture) -> Mixture:
        """The law of x_b where x1 has a mixture."""
        means = expand(self.of_state, x)[:, None] * x[:, None] + expand(self.of_data, data.means) * data.means
        return Mixture(data.log_weights, means, self.of_data.square() * data.variance + self.variance)


def transition(a: Tensor, b: Tensor) -> Transition:
    r"""The reverse kernel of the straight Gaussian path, from time a to b >= a, ``(batch,)`` each.

    .. math:: r = s_b / s_a, \quad q = t_a / t_b, \quad
              N\big(r^2 q\, x_a + (1 - r^2 q^2)\, t_b\, x_1,\; (1 - r^2 q^2)\, s_b^2\big)
    """
    r, q = (1 - b) / (1 - a), a / b
    rest = 1 - (r * q).square()
    return Transition(r.square() * q, rest * b, rest * (1 - b).square())


def posterior(velocity: Mixture, x: Tensor, t: Tensor) -> Mixture:
    """The law of ``x1 = x + (1 - t) v``."""
    s = (1 - t).clamp_min(LEAST_NOISE)
    means = x[:, None] + expand(s, velocity.means) * velocity.means
    return Mixture(velocity.log_weights, means, s.square() * velocity.variance)
