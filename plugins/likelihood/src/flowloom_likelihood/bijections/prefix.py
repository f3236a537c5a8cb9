"""Conditions as tokens before those of the state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.models import ConditionEmbedding
from flowloom.module_names import module_name
from flowloom.spec import Condition
from flowloom.state import Cond


class Prefix(nn.Module):
    """Tokens that tell the conditions: one for a sequence's every step, and one for all of the others.

    A sequence is a real-valued condition of shape ``(length, size)``, such as the states of a text encoder;
    a learned vector stands in for each of its steps where it is withheld or not given.

    Args:
        conditions: those that may come; only conditions that inform a network count.
        width: of the tokens.
    """

    def __init__(self, conditions: Mapping[str, Condition], width: int) -> None:
        super().__init__()
        told = {name: c for name, c in conditions.items() if c.role == "inform"}
        sequences = {name: c for name, c in told.items() if c.classes is None and len(c.shape) == 2}
        rest = {name: c for name, c in told.items() if name not in sequences}
        self.sequences = {name: c.shape[0] for name, c in sequences.items()}
        self.steps = nn.ModuleDict(
            {module_name(name): nn.Linear(c.shape[1], width) for name, c in sequences.items()}
        )
        self.null = nn.ParameterDict(
            {module_name(name): nn.Parameter(torch.randn(width) / math.sqrt(width)) for name in sequences}
        )
        self.rest = ConditionEmbedding(rest, width) if rest else None
        self.length = sum(self.sequences.values()) + (1 if rest else 0)

    def forward(self, cond: Cond, n: int) -> Tensor | None:
        """Tokens ``(n, length, width)``; None where nothing is ever told."""
        found: list[Tensor] = []
        for name, length in self.sequences.items():
            null = self.null[module_name(name)]
            value = cond.get(name)
            if value is None:
                found.append(null.expand(n, length, -1))
                continue
            tokens = self.steps[module_name(name)](value.to(null.dtype))
            rows = withheld(cond, name)
            found.append(tokens if rows is None else torch.where(rows[:, None, None], null, tokens))
        if self.rest is not None:
            told = self.rest(cond, n)
            assert isinstance(told, Tensor)
            found.append(told[:, None])
        return torch.cat(found, 1) if found else None
