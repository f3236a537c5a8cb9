"""Tokens as the vertices of a simplex."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.codecs import StateCodec
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom_sequences.data.vocabulary import require_ids


class OneHot(StateCodec):
    """Token ids ``(n, L)`` to one-hot rows ``(n, L, K)``, and back by the largest entry.

    Args:
        spec: of the data; injected from the recipe.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        if spec.vocab is None:
            raise IncompatibleError("codec one-hot embeds tokens, and this data is not made of tokens")
        self.vocab: int = spec.vocab

    @property
    def spec(self) -> Spec:
        """Rows of K entries in [0, 1]."""
        data = self.data_spec
        rows = (*data.shape, self.vocab)
        conditions = {
            name: replace(condition, shape=rows) if condition.role == "values" else condition
            for name, condition in data.conditions.items()
        }
        return Spec(
            shape=rows,
            conditions=conditions,
            limits=(0.0, 1.0),
            tokens=data.tokens,
        )

    def encode_state(self, x: Any) -> Tensor:
        """One-hot rows, float32."""
        require_ids(x, self.vocab)
        return F.one_hot(x, self.vocab).to(torch.get_default_dtype())

    def decode_state(self, x: Any) -> Tensor:
        """The index of the largest entry, int64."""
        return x.argmax(-1)
