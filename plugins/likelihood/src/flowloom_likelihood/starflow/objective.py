"""Exact likelihood of states with noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.objectives import Batch, Loss, Step, Turn
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond
from flowloom_likelihood.field import BijectionField, normal_log_prob
from flowloom_likelihood.models.starflow import StarFlow
from flowloom_likelihood.objective import ExactLikelihood

if TYPE_CHECKING:
    from flowloom.flow import Flow


class NoisyLikelihood(ExactLikelihood):
    r"""Exact likelihood of states with Gaussian noise, in bits for every dimension (TARFlow, STARFlow).

    .. math:: L = -\frac{1}{D \ln 2} E\big[\log p(x + \sigma\epsilon)\big]
              + \frac{\gamma}{\ln 2} \sum_b E\big[h_b^2\big]

    with :math:`\epsilon \sim N(0, I)`, which stands where dequantisation does (2412.06329, section 2.3;
    2506.06276, section 3), and :math:`h_b` the tokens between blocks, whose mean square is held down. Samples
    have the noise, too; ``solver: {use: push, denoise: true}`` takes it off. Logs ``bits_per_dim``.

    Args:
        path: of the recipe; see `ExactLikelihood`.
        noise: sigma, in units of the states.
        norm_penalty: gamma.
        condition_dropout: share of rows from which conditions are withheld, which guidance needs.
    """

    def __init__(
        self, path: Path, noise: float = 0.3, norm_penalty: float = 1e-4, condition_dropout: float = 0.1
    ) -> None:
        super().__init__(path)
        if noise < 0 or norm_penalty < 0:
            raise ValueError(f"noise and norm_penalty count from 0, got {noise} and {norm_penalty}")
        require_dropout(condition_dropout)
        self.noise, self.norm_penalty, self.condition_dropout = noise, norm_penalty, condition_dropout

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Carry noisy data to noise."""
        x, cond = self.noisy(batch, step)
        return self.descend(autoregressive(model), x, cond)[0]

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn, of a stack of autoregressive blocks.

        Raises:
            IncompatibleError: the model is another, or see `ExactLikelihood.turns`.
        """
        autoregressive(flow.model)
        return super().turns(flow)

    def noisy(self, batch: Batch, step: Step) -> tuple[Tensor, Cond]:
        """The states with noise, and their conditions, some of them withheld."""
        assert isinstance(batch.x1, Tensor)
        draw = Draw.like(batch.x1, step.generator)
        x = batch.x1 + self.noise * draw.normal(tuple(batch.x1.shape))
        return x, drop(batch.cond, self.condition_dropout, len(x), step.generator)

    def descend(self, model: StarFlow, x: Tensor, cond: Cond) -> tuple[Loss, list[Tensor]]:
        """The loss of noisy states, and the tokens before every block, then the last ones."""
        inside, log_det = model.trace(x, cond)
        bits = -(normal_log_prob(inside[-1]) + log_det).mean() / (x[0].numel() * math.log(2))
        norms = sum((h.square().mean() for h in inside[1:-1]), x.new_zeros(()))
        total = bits + self.norm_penalty / math.log(2) * norms
        return Loss(total, {"bits_per_dim": bits.detach()}), inside

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The bijection itself, whose law has the noise."""
        return BijectionField(model, self.path, self.noise)


def autoregressive(model: nn.Module) -> StarFlow:
    """The model as a stack of autoregressive blocks.

    Raises:
        IncompatibleError: it is none.
    """
    if not isinstance(model, StarFlow):
        raise IncompatibleError(
            "noisy-likelihood trains stacks of autoregressive blocks (starflow, tarflow), and "
            f"{type(model).__name__} is none; exact-likelihood takes every bijection"
        )
    return model
