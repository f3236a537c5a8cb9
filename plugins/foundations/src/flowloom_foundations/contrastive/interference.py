"""Undoes what contrastive flow matching adds to a velocity, with guidance on top."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import withheld
from flowloom.data import Dataset
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.fields import Field, Wrapped
from flowloom.flow import Flow
from flowloom.guidance import ClassifierFree, Guidance
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.state import Cond, expand, first_leaf
from flowloom_foundations.contrastive.objective import ContrastiveFlowMatching


class InterferenceRemoval(Guidance, nn.Module):
    r"""Plain flow matching from a contrastive network: :math:`(1-\lambda') v + \lambda' T` (2506.05350,
    section 5.4).

    T is the mean target over the training data, measured once before training; :math:`\lambda'` is the
    objective's `ContrastiveFlowMatching.pull`. Rows whose condition is withheld were trained without contrast
    and stay as they are. Classifier-free guidance then mixes both branches. Until it is fitted it removes
    nothing, and says so.

    Args:
        scale: of classifier-free guidance, 1 for none.
        interval: times in which both are on, all where None. The paper guides from noise level 0.65 down:
            ``[0.35, 1]``.
        rows: training rows to measure on, at most; evenly spread over all of them.
    """

    mean: Tensor
    strength: Tensor

    def __init__(
        self, scale: float = 1.0, interval: tuple[float, float] | None = None, rows: int = 10_000
    ) -> None:
        nn.Module.__init__(self)
        self.scale, self.interval, self.rows = scale, interval, rows
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("strength", torch.zeros(()))

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Flow, generator: torch.Generator) -> None:
        """Measure T on states as the objective sees them.

        Raises:
            DataError: the recipe has no data.
            IncompatibleError: the objective is not contrastive, or its best answer is not that of one mean
                velocity; or states have parts.
        """
        objective = flow.objective
        if not isinstance(objective, ContrastiveFlowMatching):
            raise IncompatibleError(
                f"interference-removal undoes objective: contrastive, not {type(objective).__name__}; "
                "use guidance: classifier-free"
            )
        if said := _other(objective):
            raise IncompatibleError(said)
        if data is None:
            raise DataError("interference-removal measures data, and this recipe has none")
        rows = data.evenly(self.rows)
        states = flow.encode(data.take(rows).to(flow.device), generator)
        x0, x1 = flow.start_for(states, generator), states.x
        if not isinstance(x0, Tensor) or not isinstance(x1, Tensor) or flow.layout(states.cond) is not None:
            raise IncompatibleError(
                "interference-removal is for states of one real tensor, all of them real and free"
            )
        if flow.source.gaussian:
            x0 = x0 - x0.mean(0)  # whose mean is known
        t = objective.times.sample(len(rows), Draw.like(x1, generator))
        velocity = objective.path.sample(x0, x1, t, generator=generator).velocity
        assert isinstance(velocity, Tensor)
        self.mean = velocity.mean(0)
        self.strength = torch.as_tensor(objective.pull).to(self.mean)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions, or whose contrast is not of one mean velocity."""
        yield from needs_dropout(self.scale, parts)
        objective = parts.get("objective")
        if isinstance(objective, ContrastiveFlowMatching) and (said := _other(objective)):
            yield Clash("guidance", "objective", said)

    def __call__(self, field: Field) -> Field:
        """The field without interference, guided where ``scale`` is not 1."""
        mix = ClassifierFree(self.scale, self.interval)
        if self.mean.ndim == 0:
            warnings.warn("interference-removal is not fitted and removes nothing", stacklevel=2)
            return mix(field)
        if field.kind != "velocity":
            raise IncompatibleError(
                f"interference-removal mends velocities, not a field of kind {field.kind}"
            )
        return mix(_Cleared(field, self))


def _other(objective: ContrastiveFlowMatching) -> str:
    """Why one mean velocity is not what a contrastive network was pushed off; empty where it is."""
    if objective.other_than is not None:
        return (
            f"interference-removal knows one mean for all rows, and other_than: {objective.other_than} "
            "pushes every class off the others alone; leave other_than out, or use guidance: classifier-free"
        )
    if (objective.predict, objective.compare_as) != ("velocity", "velocity"):
        return (
            "interference-removal undoes a contrast of velocities, and the objective predicts "
            f"{objective.predict} and compares {objective.compare_as}; leave predict and compare_as out"
        )
    return ""


class _Cleared(Wrapped):
    def __init__(self, field: Field, rule: InterferenceRemoval) -> None:
        super().__init__(field)
        self.rule = rule

    def __call__(self, x: Any, t: Any, cond: Cond, generator: torch.Generator | None = None) -> Any:
        velocity, rule = self.ask(x, t, cond, generator), self.rule
        assert isinstance(velocity, Tensor)
        cleared = torch.lerp(velocity, rule.mean.to(velocity), rule.strength.to(velocity))
        times = first_leaf(t).reshape(len(velocity), -1)[:, 0]
        low, high = rule.interval or (-math.inf, math.inf)
        on = (low <= times) & (times <= high)
        hidden = [rows for name in cond if (rows := withheld(cond, name)) is not None]
        for rows in hidden:
            on = on & ~rows
        return torch.where(expand(on, velocity), cleared, velocity)
