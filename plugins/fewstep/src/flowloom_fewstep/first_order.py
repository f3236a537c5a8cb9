"""Whether a flow's ways are first-order, and whether they are straight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import read_as
from flowloom.fields.base import evaluate, time_tensor
from flowloom.flow import Flow
from flowloom.metrics.straightness import straightness
from flowloom.scores import Score
from flowloom.state import first_leaf, sum_event
from flowloom_fewstep.ddim import DDIM

__all__ = ["FirstOrderness"]


class FirstOrderness(Score):
    r"""How much the predicted noise changes along the flow's own ways (2410.07303, section 3).

    .. math:: \frac1K \sum_k E\,\lVert\hat x_0(x_{t_k}, t_k) - \hat x_0(x_0, 0)\rVert^2

    0 where one DDIM step is exact. Beside it stands ``curvature``, the excess of kinetic energy over the
    straight line, which need not vanish for that.

    Args:
        steps: of the way.
        n: ways, at most as many as there are examples; evenly spread over these.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "first_orderness": "lower",
        "curvature": "lower",
    }

    def __init__(self, steps: int = 50, n: int = 1000) -> None:
        if steps < 2 or n < 1:
            raise ValueError(f"steps must be at least 2 and n at least 1, got {steps} and {n}")
        self.steps, self.n = steps, n

    def require(self, flow: Flow) -> None:
        """Ask for one real tensor on an affine path."""
        if flow.spec.parts or flow.spec.vocab is not None or not flow.path.affine:
            raise IncompatibleError(
                "score first-orderness looks at ways of one real tensor on an affine path"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``first_orderness`` and ``curvature``."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score first-orderness: there is no example to score")
        some = examples.take(examples.evenly(self.n).to(_device(examples)))
        x1 = some.x
        assert isinstance(x1, Tensor)
        draw = Draw.like(x1, torch.Generator(x1.device).manual_seed(seed))
        told = {name: v for name, v in some.cond.items() if name not in flow.spec.named("start")}
        x0, layout = flow.source.sample(tuple(x1.shape), draw, cond=told), flow.layout(told)
        with flow.evaluating():
            field = flow.field()
            way = DDIM(self.steps).solve(field, x0, cond=told, keep=self.steps + 1, layout=layout)
            noise = read_as(field, "noise")
            said = [
                evaluate(noise, x, time_tensor(t, x), told, None)
                for x, t in zip(way.trajectory[:-1], way.times[:-1], strict=True)
            ]
            if layout is not None:
                said = [layout.still(one) for one in said]
            first = first_leaf(said[0])
            changes = [float(sum_event((first_leaf(one) - first).square()).mean()) for one in said[1:]]
            curved = straightness(read_as(field, "velocity"), x0, cond=told, steps=self.steps, layout=layout)
        return {"first_orderness": sum(changes) / len(changes), "curvature": curved}


def _device(examples: Examples) -> torch.device:
    assert isinstance(examples.x, Tensor)
    return examples.x.device
