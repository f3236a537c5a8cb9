"""Classifier-free guidance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Wrapped
from flowloom.guidance.base import Guidance
from flowloom.guidance.branches import both_branches, mixed
from flowloom.objectives.base import Objective
from flowloom.spec import Spec
from flowloom.state import Cond, State, expand, leaves, map_state

_SLACK = 1e-6
"""How far outside of an interval a time is in it: grids that meet a limit come to it with rounding."""


class ClassifierFree(Guidance):
    r"""Mix the conditional with the unconditional answer of one network.

    :math:`v_w = (1 - w)\, v(x, t, \varnothing) + w\, v(x, t, c)`: w = 1 is plain conditional sampling,
    w = 0 unconditional, w > 1 guided (Ho and Salimans 2207.12598; for velocities Zheng et al. 2311.13443,
    where a Gaussian source and an affine path make it the velocity of
    :math:`p_t(x)^{1-w} p_t(x|c)^w`). Posteriors are mixed as log probabilities. Both branches run as one
    doubled batch; where w is 1 the null branch is skipped, and evaluations are counted accordingly.

    Args:
        scale: w.
        interval: times in which guidance is on, lowest first (2404.07724); outside it w is 1. All where None.
            Rows at different times, as those that a teacher is asked of, are each guided or not.
        conditions: names of the conditions that the null branch withholds; all where empty.
    """

    def __init__(
        self,
        scale: float = 1.5,
        interval: tuple[float, float] | None = None,
        conditions: Sequence[str] = (),
    ) -> None:
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        if interval is not None and not interval[0] <= interval[1]:
            raise ValueError(f"interval must be increasing, got {interval}")
        self.scale, self.interval, self.conditions = scale, interval, tuple(conditions)

    def __call__(self, field: Field) -> Field:
        """The guided field.

        Raises:
            IncompatibleError: the field is a flow map, whose answers must not be mixed linearly.
        """
        if field.kind == "flow-map":
            raise IncompatibleError("classifier-free guidance mixes velocities or posteriors, not flow maps")
        path = field.path
        if path is not None and not path.affine and path.geometry.continuous and self.scale != 1:
            warnings.warn(
                "classifier-free guidance is exact only for affine paths from a Gaussian; on "
                f"{type(path).__name__} it is a heuristic",
                stacklevel=2,
            )
        return _Guided(field, self)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions: there is no unconditional answer to mix in."""
        yield from needs_dropout(self.scale, parts, self.conditions)


def needs_dropout(scale: float, parts: Parts, conditions: Sequence[str] = ()) -> Iterable[Clash]:
    """What every rule of two branches asks of the objective, where ``scale`` takes both.

    Args:
        scale: 1 takes one branch alone.
        parts: of the recipe.
        conditions: that the second branch withholds; all where empty.
    """
    objective, spec = parts.get("objective"), parts.get("spec")
    if scale != 1 and objective is not None and not getattr(objective, "condition_dropout", 0.0):
        yield Clash(
            "guidance",
            "objective",
            "classifier-free guidance needs a model trained with conditions withheld; "
            "set objective.condition_dropout (0.1 to 0.2)",
        )
    elif scale != 1 and conditions and isinstance(objective, Objective) and isinstance(spec, Spec):
        names, every = frozenset(conditions), frozenset(spec.plus(objective.conditions()).named("inform"))
        if names <= every and not objective.withholds(names, every):
            yield Clash(
                "guidance",
                "objective",
                f"guidance withholds {', '.join(conditions)} and tells the rest, which training never did: "
                f"{type(objective).__name__} withholds all conditions of a row together; leave "
                "guidance.conditions out",
            )


class _Guided(Wrapped):
    def __init__(self, field: Field, rule: ClassifierFree) -> None:
        super().__init__(field)
        self.rule = rule

    def _active(self, t: float) -> bool:
        interval = self.rule.interval
        return self.rule.scale != 1 and (
            interval is None or interval[0] - _SLACK <= t <= interval[1] + _SLACK
        )

    def _where(self, t: Any) -> Any:
        """Which times lie in the interval, boolean in the structure of ``t``; None where all do."""
        if self.rule.interval is None:
            return None
        low, high = self.rule.interval
        return map_state(lambda v: (v >= low - _SLACK) & (v <= high + _SLACK), t)

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One network call on the doubled batch, then the affine mix."""
        if self.rule.scale == 1 or not self.field.informed(cond):
            return self.ask(x, t, cond, generator)
        on = self._where(t)
        # One look at the times, which waits for the device: without an interval there is none.
        seen = None if on is None else torch.cat([leaf.flatten() for _, leaf in leaves(on)])
        if seen is not None and not bool(seen.any()):
            return self.ask(x, t, cond, generator)
        told, null = both_branches(self.field, x, t, cond, self.rule.conditions, generator)
        answer = mixed(null, told, self.rule.scale, self.kind)
        if seen is None or bool(seen.all()):
            return answer
        return map_state(lambda a, b, m: torch.where(expand(m, a), a, b), answer, told, on)

    def calls(self, t: float, cond: Cond) -> int:
        """Twice the field's, where guidance is on and there is a condition to withhold."""
        guided = self._active(t) and self.field.informed(cond)
        return self.field.calls(t, cond) * (2 if guided else 1)
