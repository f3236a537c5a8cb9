"""An example that is told itself."""

from __future__ import annotations

from typing import ClassVar

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.views import View
from flowloom.views.base import plus

__all__ = ["Itself"]


class Itself(View):
    """Every example is told itself, clean, as a condition that informs the network and may be withheld.

    For networks that put it through a bottleneck (`Represented`): what gets through is a representation. A
    network without one learns to copy.

    Args:
        name: of the condition.
    """

    random: ClassVar[bool] = False

    def __init__(self, name: str = "example") -> None:
        self.name = name

    def spec(self, spec: Spec) -> Spec:
        """With the condition."""
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError(f"view itself shows one real tensor; the data have {spec.in_words()}")
        return plus(spec, "itself", **{self.name: Condition(shape=tuple(spec.shape))})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same rows, shown; padding is shown as 0."""
        assert isinstance(examples.x, torch.Tensor)
        shown = examples.x if examples.layout is None else examples.layout.zero(examples.x)
        return Examples(examples.x, {**examples.cond, self.name: shown})
