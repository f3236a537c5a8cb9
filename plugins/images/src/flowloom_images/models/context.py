"""One vector per image from time, second time and conditions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.spec import Condition


class Context(nn.Module):
    """Sum of the embeddings of time, of a second time where there is one, and of all conditions.

    Args:
        conditions: what may come, by name.
        dim: size of the embedding.
        features: number of sinusoidal features.
        second_time: also read a second time (flow maps).
    """

    def __init__(
        self, conditions: Mapping[str, Condition], dim: int, features: int, second_time: bool = False
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(dim, features)
        self.later = TimeEmbedding(dim, features) if second_time else None
        self.condition = ConditionEmbedding(conditions, dim)

    def forward(self, t: Tensor, s: Tensor | None, cond: Mapping[str, Tensor | None]) -> Tensor:
        """Times ``(batch,)`` and conditions to embeddings ``(batch, dim)``.

        Raises:
            TypeError: built for two times and given one.
        """
        vector = self.time(t)
        if self.later is not None:
            if s is None:
                raise TypeError("this network was built with second_time=True and needs s=")
            vector = vector + self.later(s)
        return vector + self.condition(cond, len(t))
