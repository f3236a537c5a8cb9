"""Two ways to answer at all targets: jointly by a flow, or each by a Gaussian of its own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.fields import Field, FlowMap, Kind
from flowloom.layout import Layout
from flowloom.objectives import Batch, FlowMatching, Loss, Objective, Step
from flowloom.objectives.base import Asked
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.state import Cond, State, expand

__all__ = ["FactorisedGaussian", "ProcessFlow"]


class ProcessFlow(FlowMatching):
    r"""Flow matching on the values at all targets, each at a time of its own (danrsm/flowNP).

    .. math:: E\,|v_\theta(y_t, t; x, C)_i - (y_{1,i} - y_{0,i})|^2, \qquad
              y_{t,i} = (1 - t_i)\,y_{0,i} + t_i\,y_{1,i}, \qquad t_i \sim U[0, 1],

    averaged over the targets that a row has. The context C is never noised. Sampling takes one time for all,
    and moves all targets together. Arguments as of `FlowMatching`.
    """

    def ask(self, model: nn.Module, batch: Batch, step: Step) -> Asked:
        """One network call, at a time for every target.

        Raises:
            ShapeError: states are not ``(targets, channels)``.
        """
        x = batch.x1
        if not isinstance(x, Tensor) or x.ndim < 2:
            raise ShapeError("process-flow moves values (targets, channels)")
        n, m = x.shape[:2]
        t = self.times.sample(n * m, Draw.like(x, step.generator)).reshape(n, m)
        point = batch.point(self.path, t, step.generator)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        prediction = model(point.x_t, t, **cond)
        if batch.layout is not None:
            prediction = self.quieted(prediction, point, batch.layout)
        return Asked(prediction, point, cond)


def moments(model: nn.Module, like: State, cond: Cond) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every value; the network sees the places of targets, and zeros for values."""
    assert isinstance(like, Tensor)
    out: Tensor = model(torch.zeros_like(like), like.new_zeros(len(like)), **cond)
    if out.shape != (*like.shape[:-1], 2 * like.shape[-1]):
        raise ShapeError("objective factorised-gaussian takes a network of two outputs a value: outputs: 2")
    mean, log_std = out.chunk(2, -1)
    return mean, log_std.clamp(-7, 3).exp()


class FactorisedGaussian(Objective):
    r"""A Gaussian for every target by itself, from the same network: what a flow of all targets is held to.

    :math:`-\log N(y_i; \mu_\theta(x_i, C), \sigma_\theta^2(x_i, C))`, averaged over the targets of a row (the
    conditional neural process, Garnelo et al. 1807.01613, with the attention of TNP-D, 2207.04179). Given
    its context, targets are independent. The flow map goes from noise to values in one jump.

    Args:
        path: injected from the recipe, for its geometry.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """``flow-map``."""
        return "flow-map"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Mean negative log likelihood of a value, in nats."""
        x = batch.x1 if batch.layout is None else batch.layout.fill(batch.x1)
        values = _nll(model, x, batch.cond)
        rows = values.flatten(1).mean(1) if batch.layout is None else batch.layout.mean(values)
        return Loss(rows.mean())

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """One jump, with its density."""
        return _Jump(model, self.path, source)


def _nll(model: nn.Module, x: State, cond: Cond) -> Tensor:
    assert isinstance(x, Tensor)
    mean, std = moments(model, x, cond)
    return 0.5 * ((x - mean) / std).square() + std.log() + 0.5 * math.log(2 * math.pi)


class _Jump(FlowMap):
    """``mean + std x0``, from the source to the data; nothing else is defined."""

    has_density = True

    def __init__(self, model: nn.Module, path: Path, source: Source | None) -> None:
        self.model, self.path, self.geometry, self.source = model, path, path.geometry, source
        self.told_by(model)

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        mean, std = moments(self.model, x, cond)
        assert isinstance(x, Tensor)
        return x + expand(t - s, x) * (mean + (std - 1) * x)

    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        assert isinstance(x, Tensor)
        mean, std = moments(self.model, x, cond)
        return mean + (std - 1) * x

    def log_prob(self, x: State, cond: Cond, layout: Layout | None = None) -> Tensor:
        values: Any = -_nll(self.model, x, cond)
        found: Tensor = values.flatten(1).sum(1) if layout is None else layout.sum(values)
        return found
