"""Guidance of autoregressive flows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.guidance import Guidance
from flowloom.guidance.classifier_free import needs_dropout
from flowloom.state import Cond, State
from flowloom_likelihood.field import BijectionField
from flowloom_likelihood.models.starflow import StarFlow


class AutoregressiveGuidance(Guidance):
    r"""Tokens of the blocks that are told are drawn from a product of their laws, told and not told.

    .. math:: p_w(x_i | x_{<i}, c) \propto p(x_i | x_{<i}, c)^{1 + w}\, p(x_i | x_{<i})^{-w}

    is a Gaussian in closed form; see `flowloom_likelihood.bijections.autoregressive.GuidedNet`
    (STARFlow, 2506.06276, section 3.4). Blocks that know no conditions stay as they are, and the density of
    guided samples is exact, too. Without conditions nothing is changed.

    Args:
        weight: w; 0 is the flow itself. The papers take 2.5 to 3.6 for the guided text, less for classes.
    """

    def __init__(self, weight: float = 1.0) -> None:
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weight counts from 0, got {weight}")
        self.weight = weight

    def __call__(self, field: Field) -> Field:
        """The guided field.

        Raises:
            IncompatibleError: the field is no autoregressive flow, or one that is told nothing.
        """
        if not isinstance(field, BijectionField) or not isinstance(field.bijection, StarFlow):
            raise IncompatibleError(
                f"guidance autoregressive mixes the laws of tokens, and this field ({field.kind}) has none; "
                "it takes model: starflow or tarflow, and classifier-free is for other fields"
            )
        return field if self.weight == 0 else _Guided(field, field.bijection, self.weight)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that never withheld conditions."""
        yield from needs_dropout(1 + self.weight, parts)


class _Guided(BijectionField):
    def __init__(self, field: BijectionField, flow: StarFlow, weight: float) -> None:
        super().__init__(flow.guided(weight), field.path, field.noise)
        self.field, self.informs = field, field.informs

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        return super().__call__(x, t, cond) if self.informed(cond) else self.field(x, t, cond)

    def calls(self, t: float, cond: Cond) -> int:
        return super().calls(t, cond) if self.informed(cond) else self.field.calls(t, cond)

    def denoised(self, x: State, cond: Cond) -> Tensor:
        # The noise is that of training, and what is known of it is the law that was trained.
        return self.field.denoised(x, cond)
