"""Tokens as the vertices of a simplex."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.codecs import StateCodec
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.state import State, map_state
from flowloom_sequences.data.vocabulary import require_ids


class OneHot(StateCodec):
    """Token ids ``(n, L)`` to one-hot rows ``(n, L, K)``, and back by the largest entry.

    A product state of tokens (a molecule's atoms beside its bonds) goes part by part, each with an alphabet
    of its own.

    Args:
        spec: of the data; injected from the recipe.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        if not spec.discrete:
            raise IncompatibleError("codec one-hot embeds tokens, and this data is not made of tokens")

    @property
    def spec(self) -> Spec:
        """Rows of K entries in [0, 1]."""
        data = self.data_spec
        inner = dict(data.leaves())

        def widened(condition: Condition) -> Condition:
            if condition.role != "values":
                return condition
            return replace(condition, shape=_rows(inner[condition.parts()[0]]).shape)

        conditions = {name: widened(condition) for name, condition in data.conditions.items()}
        return replace(_rows(data), conditions=conditions)

    def encode_state(self, x: Any) -> State:
        """One-hot rows, float32."""
        return _encoded(x, self.data_spec)

    def decode_state(self, x: Any) -> State:
        """The index of the largest entry, int64."""
        return map_state(lambda rows: rows.argmax(-1), x)


def _rows(spec: Spec) -> Spec:
    """What rows of every alphabet look like, without conditions."""
    if spec.parts:
        return Spec(parts={name: _rows(part) for name, part in spec.parts.items()})
    return Spec((*spec.shape, spec.vocab or 0), limits=(0.0, 1.0), tokens=spec.tokens)


def _encoded(x: Any, spec: Spec) -> State:
    if spec.parts:
        return {name: _encoded(x[name], part) for name, part in spec.parts.items()}
    vocab = spec.vocab or 0
    require_ids(x, vocab)
    rows: Tensor = F.one_hot(x, vocab).to(torch.get_default_dtype())
    return rows
