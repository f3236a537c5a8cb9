"""Flow matching of speech that also learns how long an utterance is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from flowloom.conditions import drop
from flowloom.errors import IncompatibleError
from flowloom.objectives import FlowMatching
from flowloom.objectives.base import Batch, Loss, Step
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import Path
from flowloom.spec import Spec
from flowloom.state import Cond, batch_size
from flowloom.times import TimeLaw
from flowloom.weights import Weight
from flowloom_audio.models.length import LengthPredictor

__all__ = ["SpeechMatching"]


class SpeechMatching(FlowMatching):
    """`FlowMatching` of frames, and the law of their number given text and voice.

    Where a solve is not told which frames are real, it draws their number first (`Solution.cond` says what
    was drawn), so that an utterance is judged with the length that the flow gave it.

    Args:
        spec: of the states, frames ``(frames, bands)`` with one condition of role ``real``; injected.
        path: see `FlowMatching`, as the others.
        times: see there.
        weight: see there.
        predict: see there.
        compare_as: see there.
        condition_dropout: see there; the length is learned without text and voice as often.
        length_weight: of the length's negative log-likelihood beside the squared error.
        length_spread: share of the length's standard deviation that is drawn when sampling; 0 is the median.
        ignore: conditions that the length does not depend on.
    """

    def __init__(
        self,
        spec: Spec,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        predict: Quantity = "velocity",
        compare_as: Quantity | None = None,
        condition_dropout: float = 0.0,
        length_weight: float = 0.1,
        length_spread: float = 0.5,
        ignore: Sequence[str] = (),
    ) -> None:
        super().__init__(path, times, weight, predict, compare_as, condition_dropout)
        marks = [name for name in spec.named("real") if len(spec.conditions[name].shape) == 1]
        if len(marks) != 1:
            raise IncompatibleError(
                "objective speech learns the length, which one condition of role 'real' says; the data has: "
                f"{', '.join(marks) or 'none (use objective: flow-matching)'}"
            )
        if length_weight < 0 or length_spread < 0:
            raise ValueError("length_weight and length_spread must not be negative")
        self.invents = (marks[0],)
        self.length = LengthPredictor(spec, ignore=ignore)
        self.reads = (*self.length.told.texts, *self.length.told.voices)
        self.length_weight, self.length_spread = length_weight, length_spread

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Both losses."""
        flow = super().loss(model, batch, step)
        frames = batch.cond[self.invents[0]].sum(1)
        n = batch_size(batch.x1)
        length = self.length.nll(drop(batch.cond, self.condition_dropout, n, step.generator), frames).mean()
        assert isinstance(flow.total, torch.Tensor)
        parts = {"flow": flow.total.detach(), "length": length.detach()}
        return Loss(flow.total + self.length_weight * length, parts)

    def complete(self, cond: Cond, n: int, generator: torch.Generator | None = None) -> Cond:
        """Conditions with marks of as many frames as are drawn, where there are none."""
        (name,) = self.invents
        if cond.get(name) is not None:
            return cond
        frames = self.length.draw(cond, n, self.length_spread, generator)
        places = torch.arange(self.length.spec.shape[0], device=frames.device)
        return {**cond, name: places < frames[:, None]}
