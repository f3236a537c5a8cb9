"""A perceptron beside a linear map of all that it is told."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.conditions import or_zeros
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["LinearSkipMLP"]


class LinearSkipMLP(MLP):
    """`MLP` on one real-valued tensor, plus a linear map of state and conditions; withheld ones are 0 there.

    Where an answer is nearly linear in a condition, as ways are in their ends, the perceptron has the rest.

    Args:
        spec: of the data; injected from the recipe.
        width: of the hidden layers.
        depth: number of hidden layers.

    Raises:
        IncompatibleError: states are tokens, or have parts.
    """

    def __init__(self, spec: Spec, width: int = 128, depth: int = 3) -> None:
        super().__init__(spec, width, depth)
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError(f"linear-skip-mlp reads one real-valued tensor, not {spec.in_words()}")
        told = {name: spec.conditions[name] for name in spec.named("inform")}
        self.linear = {name: math.prod(c.shape) for name, c in told.items() if c.classes is None}
        self.skip = nn.Linear(spec.numel() + sum(self.linear.values()), spec.numel())

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """Read a state at a time; see `flowloom.models.Model`."""
        bent = super().forward(x, t, **cond)
        assert isinstance(x, Tensor) and isinstance(bent, Tensor)
        layout = Layout.of(self.spec, cond)
        columns = [(x if layout is None else layout.zero(x)).flatten(1)]
        for name, size in self.linear.items():
            columns.append(or_zeros(cond, name, (size,), x))
        out = bent + self.skip(torch.cat(columns, 1)).reshape(x.shape)
        return out if layout is None else layout.zero(out)
