"""A classifier's opinion as an energy."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.energies import Energy
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.state import Cond, State, first_leaf
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

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the log probability of every row's class.

        Raises:
            ShapeError: rows do not tell their class.
        """
        if self.label not in cond:
            raise ShapeError(
                f"class-probability needs '{self.label}', and rows tell {sorted(cond) or 'nothing'}"
            )
        leaf = first_leaf(x)
        t = leaf.new_full((len(leaf),), self.judge.flow.path.span[1])
        seen = {name: value for name, value in cond.items() if name in self.judge.spec.conditions}
        seen.pop(self.label, None)
        return F.cross_entropy(self.judge(x, t, **seen), cond[self.label], reduction="none")
