r"""The generalised KL divergence of jump processes: a loss, and a bound on likelihoods.

Given x1, a token of the mixture path jumps to x1 at rate :math:`\lambda_t = \dot\kappa_t/(1-\kappa_t)`; the
model's chain jumps to y at :math:`\lambda_t\, p_\theta(y | x_t)`. The Kullback-Leibler divergence between the
two path laws bounds the likelihood (Lipman et al., "Flow Matching Guide and Code", 2412.06264, section 7.5):

.. math::
    -\log p_\theta(x_1) \le \int_0^1 E_{x_t} \sum_i \lambda_t
    \big[ \delta_{x_t^i}(x_1^i) - p_\theta(x_t^i | x_t)
          - (1 - \delta_{x_t^i}(x_1^i)) \log p_\theta(x_1^i | x_t) \big] dt .

For the mask source only masked tokens contribute; with the exact posterior the bound is then an equality.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath, Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, expand, sum_event
from flowloom.times import TimeLaw
from flowloom_sequences.noisy_mixture import NoisyMixturePath


def generalized_kl(logits: Tensor, x1: Tensor, x_t: Tensor, absorbing: bool) -> Tensor:
    """The bracket above for every token, ``(batch, *event)``; the rate is not included.

    Args:
        logits: of ``p(x1 | x_t)``, ``(batch, *event, K)``.
        x1: ids.
        x_t: ids, or the mask ``K``.
        absorbing: arrived tokens contribute nothing (mask source).
    """
    flat = F.cross_entropy(logits.flatten(0, -2), x1.flatten(), reduction="none").reshape(x1.shape)
    waiting = x_t != x1
    if absorbing:
        return torch.where(waiting, flat, 0)
    # log p(x_t): where it differs from x1 it needs its own look-up; the normaliser is shared with `flat`.
    vocab = logits.shape[-1]
    index = x_t.clamp(max=vocab - 1)
    picked = logits.gather(-1, torch.stack([x1, index], -1))
    log_p = picked[..., 1] - picked[..., 0] - flat
    p = torch.where(x_t < vocab, log_p.exp(), 0)
    return torch.where(waiting, flat - p, 1 - p)


class GeneralizedKL(PosteriorMatching):
    r"""Trains the posterior by the bound itself: every token weighted by :math:`\lambda_t`.

    The rate diverges at t = 1, so times stop before.

    Args:
        path: a mixture path; injected from the recipe where none is given.
        times: law of t.
        condition_dropout: see `flowloom.objectives.PointObjective`.
    """

    def __init__(self, path: Path, times: TimeLaw | None = None, condition_dropout: float = 0.0) -> None:
        require_plain(path)
        super().__init__(path, times, condition_dropout=condition_dropout)

    def per_token(self, logits: Tensor, target: Tensor, point: Point) -> Tensor:
        """The bound's integrand of every token, ``(batch, *event)``."""
        path = self.path
        assert isinstance(path, MixturePath) and isinstance(point.x_t, Tensor) and isinstance(point.t, Tensor)
        rate = expand(path.rate(point.t), target)
        return rate * generalized_kl(logits, target, point.x_t, path.absorbing)


@torch.no_grad()
def nll_bound(
    field: Field,
    source: Source,
    x1: Tensor,
    *,
    cond: Cond | None = None,
    layout: Layout | None = None,
    draws: int = 16,
    latest: float = 1 - 1e-4,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Upper bound on ``-log p(x1)`` in nats, ``(batch,)``: the bound above by Monte Carlo.

    Times are spread evenly in kappa, one in each of ``draws`` strata, in which the integrand of the mask
    source is bounded: ``lambda dt = dkappa / (1 - kappa)``. The integral stops at kappa = ``latest``, where
    all but ``1 - latest`` of the tokens have arrived: the bound is short by about that share of a row's nats.

    Args:
        field: a posterior on a mixture path.
        source: of x0.
        x1: token ids ``(batch, L)``.
        cond: conditions.
        layout: which tokens are real and free; others count nothing.
        draws: network evaluations.
        latest: largest kappa.
        generator: of times and jumps.

    Raises:
        IncompatibleError: the field is no posterior of a mixture path.
    """
    path = require_plain(field.path)
    if field.kind != "posterior":
        raise IncompatibleError(f"likelihood bounds are for posteriors, not for a {field.kind}")
    given = dict(cond or {})
    x0 = source.sample(tuple(x1.shape), Draw(generator, device=x1.device), cond=given)
    total = torch.zeros(len(x1), dtype=torch.float64, device=x1.device)
    if layout is not None:
        layout = layout.holding(x1)
        x1 = layout.fill(x1)
        x0 = layout.hold(x0)
    for k in range(draws):
        u = torch.rand(len(x1), generator=generator, device=x1.device)
        kappa = ((k + u) / draws * latest).clamp(max=latest)
        t = _time_of(path, kappa)
        x_t = path.sample(x0, x1, t, generator=generator).x_t
        logits = field(x_t, t, given)
        assert isinstance(x_t, Tensor) and isinstance(logits, Tensor)
        terms = generalized_kl(logits, x1, x_t, path.absorbing).double()
        rows = sum_event(terms) if layout is None else layout.sum(terms)
        total += latest / draws * rows / (1 - kappa.double())
    return total


def require_plain(path: Path | None) -> MixturePath:
    """A path of two terms: with more, the jumps that lead to x1 are not all there are."""
    if not isinstance(path, MixturePath) or isinstance(path, NoisyMixturePath):
        raise IncompatibleError(f"the bound is that of path: mixture, not of {type(path).__name__}")
    return path


def _time_of(path: MixturePath, kappa: Tensor) -> Tensor:
    """The time at which the schedule's alpha is ``kappa``, by bisection."""
    low, high = torch.zeros_like(kappa), torch.ones_like(kappa)
    for _ in range(40):
        middle = (low + high) / 2
        below = path.schedule.alpha(middle) < kappa
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
