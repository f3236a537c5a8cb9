"""Posterior matching for tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.geometry import Discrete
from flowloom.objectives.base import PointObjective, mean_of_points
from flowloom.paths import MixturePath, Path, Point
from flowloom.state import Cond, State, part
from flowloom.times import TimeLaw, Uniform
from flowloom.weights import Weight


class PosteriorMatching(PointObjective):
    """Cross-entropy of ``p(x1 | x_t)`` for every token (Gat et al. 2407.15595).

    Args:
        path: a mixture path; injected from the recipe where none is given.
        times: law of t; the default stops at 1 - 1e-3, where everything has arrived.
        weight: per-time weight.
        masked_only: count only tokens that still show the mask id; right for the mask source, where
            tokens that have arrived are known.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self,
        path: Path,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        masked_only: bool = False,
        condition_dropout: float = 0.0,
    ) -> None:
        if not isinstance(path, MixturePath):
            raise IncompatibleError(f"this objective needs path: mixture, got {type(path).__name__}")
        super().__init__(path, times or Uniform(latest=1 - 1e-3), weight, condition_dropout)
        self.masked_only = masked_only

    @property
    def kind(self) -> Kind:
        """Posterior."""
        return "posterior"

    def compare(self, prediction: State, point: Point, cond: Cond) -> Tensor:
        """Cross-entropy in nats of every row, averaged over its tokens."""
        if isinstance(prediction, dict):
            rows = [
                self.compare(logits, Point(*(part(v, k) for v in vars(point).values())), cond)
                for k, logits in prediction.items()
            ]
            return torch.stack(rows).mean(0)
        assert isinstance(point.x1, Tensor) and isinstance(point.x_t, Tensor)
        flat = F.cross_entropy(prediction.flatten(0, -2), point.x1.flatten(), reduction="none")
        nats = flat.reshape(point.x1.shape)
        geometry, mask = self.path.geometry, cond.get("mask")
        if self.masked_only and isinstance(geometry, Discrete):
            waiting = point.x_t == geometry.vocab
            mask = waiting if mask is None else waiting & mask
        return mean_of_points(nats, mask)

    def field(self, model: nn.Module, source_std: float | None = None) -> Field:
        """The network as a posterior."""
        return NetworkField(model, "posterior", self.path, None)
