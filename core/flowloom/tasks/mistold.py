"""Prediction under a class that is not the row's own: how much a flow heeds what it is told."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom.tasks.predict import Predict

__all__ = ["Mistold"]


class Mistold(Predict):
    """As `Predict`, but every row is told another class than its own, drawn evenly from the others.

    All else that it is told, and the truth that judges it, are the row's. Beside ``predict`` on the same flow
    it says what the class is worth: a flow that reads everything from its other conditions loses nothing.

    Args:
        condition: the class.
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        condition: str = "label",
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(solver, metrics, draws, name)
        self.condition = condition

    def asked_of(self, truth: Examples, spec: Spec, generator: torch.Generator) -> Examples:
        """Conditions with another class beside empty states.

        Raises:
            IncompatibleError: the data have no such class, or only one, or flows are never told it.
        """
        told = spec.conditions.get(self.condition)
        if told is None or told.classes is None or told.classes < 2:
            known = [n for n, c in spec.conditions.items() if c.classes is not None and c.classes > 1]
            raise IncompatibleError(
                f"mistold tells rows another class of '{self.condition}', and these data have no condition "
                f"of that name with at least two classes; they have: {', '.join(known) or 'none'}"
            )
        if told.role == "judged":
            raise IncompatibleError(
                f"mistold tells rows another class of '{self.condition}', which judges alone are told: "
                "nothing would change"
            )
        asked = super().asked_of(truth, spec, generator)
        own = truth.cond[self.condition]
        other = torch.randint(1, told.classes, own.shape, generator=generator)
        # In whole numbers of 64 bits: sums of small ones come round.
        class_of = (own.long().cpu() + other) % told.classes
        return Examples(asked.x, {**asked.cond, self.condition: class_of.to(own)}, asked.layout)
