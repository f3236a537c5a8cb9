"""The objective contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from flowloom.conditions import drop
from flowloom.fields import Field, Kind
from flowloom.paths import Path, Point
from flowloom.state import Cond, State, batch_size, expand, first_leaf, float_dtype, map_state
from flowloom.times import TimeLaw, Uniform
from flowloom.weights import Weight


@dataclass(frozen=True)
class Batch:
    """Coupled ends with the conditions of x1, as the data side hands them to the objective.

    Args:
        x0: source states ``(batch, *event)``.
        x1: data states ``(batch, *event)``.
        cond: conditions of x1, never withheld here.
    """

    x0: State
    x1: State
    cond: Cond = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """A scalar to descend, and detached scalars to log.

    Args:
        total: scalar with gradient.
        parts: named scalars.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Scores a model on coupled ends, and says what the trained model is.

    An objective is a module, so that one with state of its own (a teacher, a queue, a critic) has it
    checkpointed and moved with the rest.
    """

    path: Path

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The loss of ``model`` on ``batch``; all randomness comes from ``generator``."""

    @abstractmethod
    def field(self, model: nn.Module, source_std: float | None = None) -> Field:
        """The field that the trained ``model`` is.

        Args:
            model: the network.
            source_std: of a Gaussian source, None otherwise; scores need it.
        """

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Kind of the field, known before any model exists."""


class TrainingModule(nn.Module):
    """Model and objective in one module whose ``forward`` is the loss, so that DDP and FSDP hooks fire.

    Args:
        model: the network.
        objective: how it is scored.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The loss of one batch."""
        return self.objective.loss(self.model, batch, generator)


class PointObjective(Objective):
    """Objectives that score one network call at one point of the path.

    Args:
        path: where the points come from.
        times: law of t.
        weight: per-time weight.
        condition_dropout: probability with which all conditions are withheld from a row, drawn per row
            (classifier-free guidance, 2207.12598).
    """

    def __init__(
        self,
        path: Path,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= condition_dropout < 1:
            raise ValueError(f"condition_dropout must lie in [0, 1), got {condition_dropout}")
        self.path, self.times, self.weight = path, times or Uniform(), weight
        self.condition_dropout = condition_dropout

    @abstractmethod
    def compare(self, prediction: State, point: Point, cond: Cond) -> Tensor:
        """Loss of every row, ``(batch,)``."""

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """Draw t and x_t, call the model once, compare."""
        n, leaf = batch_size(batch.x1), first_leaf(batch.x1)
        t = self.times.sample(n, generator=generator, device=leaf.device, dtype=float_dtype(batch.x1))
        mask = batch.cond.get("mask")
        x0, x1 = (batch.x0, batch.x1) if mask is None else (_filled(v, mask) for v in (batch.x0, batch.x1))
        point = self.path.sample(x0, x1, t, generator=generator)
        cond = drop(batch.cond, self.condition_dropout, n, generator)
        prediction = model(point.x_t, t, **cond)
        rows = self.compare(prediction if mask is None else _zeroed(prediction, mask), point, cond)
        if self.weight is not None:
            rows = rows * self.weight(t)
        return Loss(rows.mean())


def _filled(state: State, mask: Tensor) -> State:
    """Padding replaced by the first real entry of its row: whatever stood there (NaN, id -1) is gone."""
    first = mask.to(torch.uint8).argmax(1)

    def leaf(v: Tensor) -> Tensor:
        if v.ndim < 2 or v.shape[1] != mask.shape[1]:
            return v
        real = v[torch.arange(len(v), device=v.device), first][:, None]
        return torch.where(expand(mask, v), v, real)

    return map_state(leaf, state)


def _zeroed(state: State, mask: Tensor) -> State:
    """Padding set to 0 in value and gradient."""

    def leaf(v: Tensor) -> Tensor:
        return v if v.ndim < 2 or v.shape[1] != mask.shape[1] else torch.where(expand(mask, v), v, 0)

    return map_state(leaf, state)


def mean_of_points(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over everything but the batch, over real entries only where a mask speaks of dimension 1.

    Args:
        values: ``(batch, *points)``.
        mask: ``(batch, L)``, True where real.
    """
    if values.ndim == 1:
        return values
    if mask is None or mask.shape[1] != values.shape[1]:
        return values.flatten(1).mean(1)
    per_entry = values.flatten(2).mean(2) if values.ndim > 2 else values
    # Where, not multiply: a NaN in padding must not reach the sum.
    kept = torch.where(mask, per_entry, 0.0).sum(1)
    return kept / mask.sum(1).clamp_min(1)
