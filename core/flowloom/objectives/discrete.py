"""Posterior matching: classify what a token was, or will be."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives.base import PointObjective
from flowloom.paths import MixturePath, Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, State
from flowloom.times import TimeLaw, Uniform
from flowloom.weights import Weight


class PosteriorMatching(PointObjective):
    r"""Cross-entropy of :math:`p_{1|t}(x_1^i | x_t)` for every token i.

    On a mixture path this is discrete flow matching (Gat et al. 2407.15595). On a path between points of
    R^K and vertices of a simplex (states ``(batch, L, K)``, x1 one-hot rows) it is variational flow
    matching with a categorical posterior, CatFlow (Eijkelboom et al. 2406.04843), and on a Dirichlet path
    Dirichlet flow matching (Stark et al. 2402.05841): the same loss, because each of their velocities is
    linear in the posterior.

    Args:
        path: a mixture path, or one that ends on vertices; injected from the recipe where none is given.
        times: law of t; the default stops at 1 - 1e-3, where everything has arrived.
        weight: per-time weight.
        masked_only: tokens that no longer show the mask id cost nothing; right for the mask source, where
            tokens that have arrived are known, and the default where the path knows that it has one.
        predict: ``data`` for the posterior of x1; ``source`` for that of x0 (noise prediction), with which
            jump solvers run from data to source. Mixture paths only.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self,
        path: Path,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        masked_only: bool | None = None,
        predict: Literal["data", "source"] = "data",
        condition_dropout: float = 0.0,
    ) -> None:
        leaves = list(path.parts.values()) or [path]
        if not all(
            isinstance(leaf, MixturePath) or leaf.converts("posterior", "velocity") for leaf in leaves
        ):
            raise IncompatibleError(
                "this objective needs path: mixture for tokens, or affine or dirichlet for one-hot rows; "
                f"got {type(path).__name__}"
            )
        if predict == "source" and not all(isinstance(leaf, MixturePath) for leaf in leaves):
            raise IncompatibleError("predict: source is for tokens (path: mixture)")
        super().__init__(path, times or Uniform(latest=1 - 1e-3), weight, condition_dropout)
        if masked_only is None:
            masked_only = path.absorbing and predict == "data"
        self.masked_only, self.predict = masked_only, predict

    @property
    def kind(self) -> Kind:
        """Posterior of x1, or of x0."""
        return "posterior" if self.predict == "data" else "source-posterior"

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Loss of every token in nats."""
        if isinstance(prediction, dict):
            return {k: self.compare(logits, point.part(k), cond) for k, logits in prediction.items()}
        assert isinstance(point.x1, Tensor) and isinstance(point.x_t, Tensor)
        target = point.x1 if self.predict == "data" else point.x0
        assert isinstance(target, Tensor)
        nats = self.per_token(prediction, target, point)
        if self.masked_only and isinstance(self.path, MixturePath):
            # What shows is known and costs nothing, but it is still one of the row's tokens: a mean over the
            # masked ones alone would weight times by 1 / (1 - kappa), with the variance that goes with it.
            nats = torch.where(point.x_t == self.path.vocab, nats, 0.0)
        return nats

    def per_token(self, logits: Tensor, target: Tensor, point: Point) -> Tensor:
        """Loss of every token, ``(batch, *event)``, from logits ``(batch, *event, K)`` and ids or rows."""
        if target.is_floating_point():
            return -(target * torch.log_softmax(logits, -1)).sum(-1)
        if logits.shape[:-1] != target.shape:
            raise ShapeError(
                f"the model answered {tuple(logits.shape)} for tokens {tuple(target.shape)}; "
                "logits have one more dimension, of size vocab"
            )
        flat = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
        return flat.reshape(target.shape)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network as a posterior."""
        return NetworkField(model, self.kind, self.path, source)
