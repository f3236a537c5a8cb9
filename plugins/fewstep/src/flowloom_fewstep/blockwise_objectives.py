"""What blocks, their trunk, and the network that stands in for it are trained to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.models import TellsFeatures
from flowloom.objectives import Batch, FlowMatching, Loss, Step, Turn
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import State, batch_size, expand
from flowloom.times import TimeLaw, Uniform
from flowloom.trained import Trained
from flowloom_fewstep.blockwise import BlockwiseModel
from flowloom_fewstep.blockwise_field import KIND, BlockwiseField
from flowloom_fewstep.teachers import of_other_states
from flowloom_fewstep.unit_time import require_unit_time

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["BlockwiseFlowMatching", "FeatureResidual"]


def _blocks(model: nn.Module) -> BlockwiseModel:
    if not isinstance(model, BlockwiseModel):
        raise IncompatibleError(
            f"{type(model).__name__} has no blocks; use model: blockwise-mlp, or blockwise-dit"
        )
    return model


class _Blocks(FlowMatching):
    """What both stages share: a network of blocks, and the field that it is."""

    also = ("velocity",)

    @property
    def kind(self) -> Kind:
        """A velocity whose network has features."""
        return KIND

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network of blocks."""
        return BlockwiseField(model, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Networks without blocks."""
        yield from super().clashes(parts)
        model = parts.get("model")
        if model is not None and not isinstance(model, BlockwiseModel | Trained):
            name = type(model).__name__
            message = f"{name} has no blocks; use model: blockwise-mlp, or blockwise-dit"
            yield Clash("objective", "model", message)


class BlockwiseFlowMatching(_Blocks):
    r"""Flow matching of blocks, whose trunk sees what a pretrained network sees in the data (2510.21167).

    .. math:: L = E\,\|v_m(x_t, t, F(x_t, t)) - (x_1 - x_0)\|^2 - w\, \cos\big(P F(x_t, t),\ E(x_1)\big)

    with E the features of ``encoder`` of the data themselves, place by place, and P a head of the model.
    Times are spread evenly over a batch, so that every block sees as many rows. Blocks without a trunk
    need none of this: ``flow-matching`` trains them.

    Args:
        encoder: E: a run whose network tells features, a classifier say; the paper has DINOv2. Nothing
            guides the trunk where null.
        path: see `FlowMatching`.
        times: see `FlowMatching`; uniform and spread over the batch by default.
        align: w.
        condition_dropout: see `FlowMatching`.

    Raises:
        IncompatibleError: the encoder tells no features.
        ValueError: ``align`` is out of range.
    """

    def __init__(
        self,
        encoder: Trained | None = None,
        path: Path | None = None,
        times: TimeLaw | None = None,
        align: float = 0.05,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times or Uniform(stratified=True), condition_dropout=condition_dropout)
        require_unit_time("blockwise", self.path, self.times)
        if encoder is not None and not isinstance(encoder.flow.model, TellsFeatures):
            raise IncompatibleError(
                f"blockwise aligns with features, and {type(encoder.flow.model).__name__} tells none; take a "
                "run of mlp-classifier or image-classifier"
            )
        if not 0 <= align < math.inf:
            raise ValueError(f"align is at least 0 and finite, got {align}")
        self.encoder, self.align = encoder, align

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Networks without blocks; an encoder of other states."""
        yield from super().clashes(parts)
        yield from of_other_states(self.encoder, parts, "encoder")

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """One call of the model and one of the encoder."""
        model = _blocks(model)
        n, generator = batch_size(batch.x1), step.generator
        t = self.times.sample(n, Draw.like(batch.x1, generator))
        point = batch.point(self.path, t, generator)
        cond = drop(batch.cond, self.condition_dropout, n, generator)
        x = point.x_t
        assert isinstance(x, Tensor)
        features = model.trunk(x, t, cond)
        said: State = model.velocity(x, t, features, cond)
        if batch.layout is not None:
            said = self.quieted(said, point, batch.layout)
        matching = self.rows(self.compare(said, point, cond), t, batch.layout).mean()
        if self.encoder is None:
            return Loss(matching)
        alike = self._alike(model, features, batch)
        parts = {"matching": matching.detach(), "alike": alike.detach()}
        return Loss(matching - self.align * alike, parts)

    def _alike(self, model: BlockwiseModel, features: Tensor, batch: Batch) -> Tensor:
        assert self.encoder is not None
        with torch.no_grad():
            judge = self.encoder.flow.model
            assert isinstance(judge, TellsFeatures)
            wanted = judge.features(batch.x1, features.new_ones(len(features)), batch.cond)
        found = model.aligned(features, wanted.shape[-1])
        # Features of a whole image are those of all its places.
        places = (1,) * (found.ndim - wanted.ndim)
        return cosine_similarity(found, wanted.reshape(len(wanted), *places, *wanted.shape[1:]), -1).mean()


class FeatureResidual(_Blocks):
    r"""R learns how features change within a piece of the time; all else stands still (2510.21167, stage 2).

    .. math:: L = E\,\big\|F(x_{t_m}, t_m) + M (t - t_m)\, R(x_t, t) - F(x_t, t)\big\|^2

    both states of the same pair of ends. ``residual_error`` in the log is the root of this over that of
    :math:`\|F(x_t, t) - F(x_{t_m}, t_m)\|^2`, 1 for features that are only remembered.

    Args:
        path: see `FlowMatching`.
        times: see `FlowMatching`; uniform and spread over the batch by default.
        condition_dropout: see `FlowMatching`.
    """

    def __init__(
        self, path: Path | None = None, times: TimeLaw | None = None, condition_dropout: float = 0.0
    ) -> None:
        super().__init__(path, times or Uniform(stratified=True), condition_dropout=condition_dropout)
        require_unit_time("feature-residual", self.path, self.times)
        if not self.path.pathwise:
            raise IncompatibleError(
                f"feature-residual compares two states of one pair of ends, and {self.path} draws x_t anew "
                "at every time; use path: affine"
            )

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One, of R alone.

        Raises:
            IncompatibleError: the model has none.
        """
        own = {id(p) for p in _blocks(flow.model).remainder.parameters()}

        def loss(batch: Batch, step: Step) -> Loss:
            return self.loss(flow.model, batch, step)

        return (Turn("residual", loss, {n: p for n, p in flow.trainable().items() if id(p) in own}),)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Two calls of the trunk and one of R."""
        model = _blocks(model)
        n, generator = batch_size(batch.x1), step.generator
        t = self.times.sample(n, Draw.like(batch.x1, generator))
        start = model.pieces.which(t).to(t.dtype) / model.pieces.count
        ends = batch.point(self.path, t, generator), batch.point(self.path, start, generator)
        x, before = ends[0].x_t, ends[1].x_t
        assert isinstance(x, Tensor)
        assert isinstance(before, Tensor)
        cond = drop(batch.cond, self.condition_dropout, n, generator)
        with torch.no_grad():
            then, now = model.trunk(before, start, cond), model.trunk(x, t, cond)
        share = expand((t - start) * model.pieces.count, now)
        square = (then + share * model.change(x, t, cond) - now).square().mean()
        ratio = (square.detach() / (now - then).square().mean().clamp_min(1e-12)).sqrt()
        return Loss(square, {"residual_error": ratio})
