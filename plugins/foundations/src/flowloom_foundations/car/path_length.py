"""How far a conditional flow has to carry its points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.state import sum_event
from flowloom_foundations.car.moving_chart import ConditionAware


class PathLength(Score):
    r"""Mean length of the conditional paths that the network is trained on: :math:`E\,\|z_1 - z_0\|`.

    Ends are those of CAR-Flow where the network is `ConditionAware`, and of the data where it is not; x0 is
    drawn independently, from the flow's own source.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"path_length": "lower"}

    def require(self, flow: Flow) -> None:
        """Ask for states of one real tensor."""
        if flow.spec.parts or flow.spec.vocab is not None:
            raise IncompatibleError("score path-length measures states of one real tensor")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``path_length``."""
        self.require(flow)
        x1 = examples.x
        assert isinstance(x1, Tensor)
        if len(x1) == 0:
            raise ShapeError("score path-length: there is no example to score")
        draw = Draw.like(x1, torch.Generator(x1.device).manual_seed(seed))
        with flow.evaluating():
            x0 = flow.source.sample(tuple(x1.shape), draw, cond=examples.cond)
            way = x1 - x0
            if isinstance(flow.model, ConditionAware):
                first, last = flow.model.shifts(examples.cond, x1)
                way = way + last - first
        layout = flow.layout(examples.cond)
        squares = way.square() if layout is None else layout.still(way).square()
        return {"path_length": float(sum_event(squares).sqrt().mean())}
