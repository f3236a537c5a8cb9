"""One vector per image from time and conditions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.spec import Condition


class Context(nn.Module):
    """Sum of the embeddings of time and of all conditions.

    Args:
        conditions: what may come, by name.
        dim: size of the embedding.
        features: number of sinusoidal features.
        timed: False where the time is not read.
    """

    def __init__(
        self, conditions: Mapping[str, Condition], dim: int, features: int, timed: bool = True
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(dim, features) if timed else None
        self.condition = ConditionEmbedding(conditions, dim)

    def forward(self, t: Tensor, cond: Mapping[str, Tensor | None]) -> Tensor:
        """Times ``(batch,)`` and conditions to embeddings ``(batch, dim)``."""
        told = self.condition(cond, len(t))
        if self.time is not None:
            return self.time(t) + told
        return told if isinstance(told, Tensor) else t.new_zeros(len(t), self.condition.dim)
