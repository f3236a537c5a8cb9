"""A classifier's opinion as an energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.energies import Energy
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import Cond, State, batch_size, first_leaf, float_dtype, map_state
from flowloom.trained import Trained

__all__ = ["ClassProbability"]


class ClassProbability(Energy, nn.Module):
    r""":math:`E(x, c) = -\log p(c\,|\,x)`: samples are to be taken for what was asked for.

    A reward that can be hacked: judge the outcome by another classifier as well (metric ``class-accuracy``).

    Args:
        judge: a frozen run of a classifier (objective ``classification``).
        label: the condition that says the class.

    Raises:
        IncompatibleError: the run trained no classifier.
    """

    def __init__(self, judge: Trained, label: str = "label") -> None:
        nn.Module.__init__(self)
        if not getattr(judge.flow.model, "classifies", 0):
            name = type(judge.flow.model).__name__
            raise IncompatibleError(
                f"class-probability asks a classifier, and the run given as judge trained {name}; take one "
                "of objective: classification"
            )
        self.judge, self.label = judge, label
        states = judge.flow.spec
        self.spec = Spec(states.shape, states.vocab, parts=states.parts)

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the log probability of every row's class; of the likeliest where rows do not tell theirs."""
        flow, wanted = self.judge.flow, cond.get(self.label)
        states = map_state(lambda v: v.to(flow.dtype) if v.is_floating_point() else v, x)
        t = torch.full((batch_size(x),), flow.path.span[1], device=first_leaf(x).device, dtype=flow.dtype)
        seen = {k: v for k, v in cond.items() if k in flow.spec.conditions and k != self.label}
        logs = self.judge(states, t, **seen).log_softmax(-1)
        best = logs.amax(-1) if wanted is None else logs.gather(-1, wanted[:, None])[:, 0]
        return -best.to(float_dtype(x))
