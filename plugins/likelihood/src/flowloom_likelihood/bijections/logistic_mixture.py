"""Mixtures of logistic distributions, in log space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flowloom_likelihood.bijections.increasing import solve_increasing

LEAST_LOG_SCALE = -7.0


@dataclass(frozen=True)
class LogisticMixture:
    r"""K logistic distributions mixed, one mixture for every entry x of a state.

    .. math:: F(x) = \sum_k \pi_k\,\mathrm{sigmoid}\big((x - \mu_k) e^{-s_k}\big)

    (1902.00275, equation 15). F and 1 - F are sums of sigmoids whose logarithms are added in log space: no
    logarithm is taken of a number that has rounded to 0 or 1.

    Args:
        log_weights: ``log pi``, ``(*x, K)``, normalised.
        means: mu, ``(*x, K)``.
        log_scales: s, ``(*x, K)``.
    """

    log_weights: Tensor
    means: Tensor
    log_scales: Tensor

    @classmethod
    def of(cls, said: Tensor) -> LogisticMixture:
        """What a network says, ``(*x, 3 K)``: logits of the weights, means and log scales."""
        logits, means, log_scales = said.chunk(3, -1)
        return cls(logits.log_softmax(-1), means, log_scales.clamp_min(LEAST_LOG_SCALE))

    def _standard(self, x: Tensor) -> Tensor:
        return (x[..., None] - self.means) * (-self.log_scales).exp()

    def logit(self, x: Tensor) -> Tensor:
        """``log F - log (1 - F)``, of the shape of ``x``."""
        z = self._standard(x)
        above = torch.logsumexp(self.log_weights + logsigmoid(z), -1)
        return above - torch.logsumexp(self.log_weights + logsigmoid(-z), -1)

    def log_slope(self, x: Tensor) -> Tensor:
        """Log of the derivative of `logit`: ``log f - log F - log (1 - F)``."""
        z = self._standard(x)
        above, below = logsigmoid(z), logsigmoid(-z)
        log_density = torch.logsumexp(self.log_weights + above + below - self.log_scales, -1)
        log_cdf = torch.logsumexp(self.log_weights + above, -1)
        return log_density - log_cdf - torch.logsumexp(self.log_weights + below, -1)

    def quantile(self, logit: Tensor) -> Tensor:
        """x with ``logit(x) = logit``: it lies between the least and the largest quantile of a component."""
        each = self.means + self.log_scales.exp() * logit[..., None]
        low, high = each.amin(-1), each.amax(-1)
        return solve_increasing(self.logit, lambda x: self.log_slope(x).exp(), logit, low, high)
