"""Compositions of conditions: products, conjunctions and negations of what one network knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.conditions import is_null
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance, comparable
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.state import Cond, State, expand

__all__ = ["Composed", "Term"]

BROAD = 10.0
"""Deviation of the law that stands for what is missing in a product; data have about 1."""


@dataclass(frozen=True)
class Term:
    """One condition of a composition.

    Args:
        given: values of conditions by name (a class id, a number); what is left out is as it was asked for.
        weight: exponent of this law in the product; negative to get away from it.
    """

    given: Mapping[str, float]
    weight: float = 1.0


class Composed(Guidance):
    r"""The score of a product of laws, :math:`\prod_i p(x|c_i)^{w_i}`, over p(x) without conditions or not.

    .. math::
        s = \sum_i w_i\, s(x, t, c_i) \qquad\text{or}\qquad
        s = s(x, t, \varnothing) + \sum_i w_i \big(s(x, t, c_i) - s(x, t, \varnothing)\big)

    Positive weights are AND, negative ones NOT (Du and Kaelbling 2402.01103; Liu et al. 2206.01714). Where
    all weights, that of the null branch included, have the sum 1, the same combination of velocities, data,
    noise or log probabilities is meant and taken; any other sum W is one of scores, which affine paths from a
    Gaussian have. Their sum at t < 1 is *not* the score of the noised product: an ODE along it draws from
    another law, which ``solver: annealed-langevin`` mends. A mixture needs no rule: draw the condition row by
    row.

    A product of W laws of noise is narrower than the source (of variance 1/W at t = 0), and no finite
    velocity leads there. Therefore 1 - W parts of a broad Gaussian are composed as well, of deviation
    ``BROAD`` and noised like the others, in a share that falls to 0 at the data, whose law is the product
    alone.

    Args:
        terms: the conditions and their weights.
        over_null: weights are relative to the law without conditions, which training has to have seen.
    """

    def __init__(self, terms: Sequence[Term], over_null: bool = False) -> None:
        self.terms, self.over_null = tuple(terms), over_null
        if not self.terms or not all(math.isfinite(term.weight) for term in self.terms):
            raise ValueError("a composition has at least one term, and finite weights")

    def __call__(self, field: Field) -> Field:
        """The composed field.

        Raises:
            IncompatibleError: weights have another sum than 1, and the field has no score; a flow map.
        """
        path, total = field.path, self.total
        if field.kind == "flow-map":
            raise IncompatibleError("a composition adds scores or velocities, not flow maps")
        if abs(total - 1) > 1e-9 and (
            path is None
            or not isinstance(field.kind, str)
            or not path.converts("score", field.kind, field.source)
        ):
            raise IncompatibleError(
                f"the weights of the composition have the sum {total:g}, which only scores can have: take "
                "path: affine with source: gaussian, or weights with the sum 1 (over_null: true)"
            )
        return _Composed(field, self)

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return 1.0 if self.over_null else sum(term.weight for term in self.terms)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions, where the null branch is asked."""
        if self.over_null:
            yield from needs_dropout(0.0, parts)


class _Composed(Wrapped):
    def __init__(self, field: Field, rule: Composed) -> None:
        super().__init__(field)
        self.rule = rule

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One network call on a batch of all branches."""
        if not self._on(cond):
            return self.ask(x, t, cond, generator)
        if not isinstance(x, Tensor):
            raise ShapeError("a composition is of states that are one tensor")
        branches = [self._told(cond, term, len(x), x) for term in self.rule.terms]
        weights = [term.weight for term in self.rule.terms]
        if self.rule.over_null:
            everything = torch.ones(len(x), dtype=torch.bool, device=x.device)
            branches = [{**branch, "null": ~everything} for branch in branches]
            branches.append({**branches[0], "null": everything})
            weights.append(1 - sum(weights))
        k = len(branches)
        names = branches[0].keys()
        joined = {name: torch.cat([branch[name] for branch in branches]) for name in names}
        states, times = x.repeat(k, *(1,) * (x.ndim - 1)), t.repeat(k, *(1,) * (t.ndim - 1))
        values = comparable(self.ask(states, times, joined, generator), self.kind)
        assert isinstance(values, Tensor)
        each = values.unflatten(0, (k, -1))
        mixed = torch.tensordot(values.new_tensor(weights), each, 1)
        # Of infinities there is no sum: what any branch excludes stays excluded.
        mixed = mixed.masked_fill((each == -torch.inf).any(0), -torch.inf)
        left = 1 - self.rule.total
        if abs(left) <= 1e-9:
            return mixed
        # Scores are linear in value and state together: the same sum of values is one of scores but for the
        # state, of which it counts the total instead of 1. What is left is the broad law's.
        assert self.path is not None
        rest = self.path.convert(self._broad(x, t), x, t, "score", self.kind, self.source)
        assert isinstance(rest, Tensor)
        return torch.add(mixed, rest, alpha=left)

    def _broad(self, x: Tensor, t: Tensor) -> Tensor:
        """The score of a broad Gaussian, noised, that fades towards the data."""
        assert self.path is not None
        schedule, (first, last) = self.path.schedule, self.span
        if schedule is None:
            return torch.zeros_like(x)
        std = 1.0 if self.source is None or self.source.std is None else self.source.std
        t = expand(t.to(x.dtype), x)
        variance = (std * schedule.sigma(t)).square() + (BROAD * schedule.alpha(t)).square()
        return (t - last) / (last - first) * x / variance

    def calls(self, t: float, cond: Cond) -> int:
        """One for every branch."""
        k = len(self.rule.terms) + self.rule.over_null
        return self.field.calls(t, cond) * (k if self._on(cond) else 1)

    def _on(self, cond: Cond) -> bool:
        """Whether the network is told anything at all."""
        return self.field.informed(cond)

    @staticmethod
    def _told(cond: Cond, term: Term, n: int, x: Tensor) -> dict[str, Tensor]:
        told = {name: value for name, value in cond.items() if not is_null(name)}
        for name, value in term.given.items():
            if name not in told:
                raise IncompatibleError(
                    f"a term is given '{name}', which the flow is not told; give it when sampling"
                )
            told[name] = torch.full_like(told[name], value)
        return told
