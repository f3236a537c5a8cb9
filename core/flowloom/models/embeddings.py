"""Embeddings of times and conditions, shared by the networks of every domain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowloom.conditions import informative, withheld
from flowloom.module_names import module_name
from flowloom.spec import Condition


def sinusoid(t: Tensor, dim: int, scale: float = 1000.0, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal features of a time: shape ``(*t.shape, dim)``.

    Args:
        t: times, usually in ``[0, 1]``.
        dim: number of features, even.
        scale: times are multiplied by this first, so that ``[0, 1]`` spans the frequencies as the 1000
            steps of diffusion models do (Vaswani et al. 2017; Ho et al. 2020).
        max_period: of the slowest feature.
    """
    half = dim // 2
    steps = torch.arange(half, device=t.device, dtype=t.dtype)
    frequencies = torch.exp(-math.log(max_period) * steps / half)
    angle = (scale * t)[..., None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], -1)


class TimeEmbedding(nn.Module):
    """Sinusoidal features of a time followed by a two-layer SiLU network.

    Features are taken in at least single precision, whatever the weights are: half precision cannot tell
    0.997 from 1.

    Args:
        dim: size of the embedding.
        features: number of sinusoidal features, even.
    """

    def __init__(self, dim: int, features: int = 256) -> None:
        super().__init__()
        if features % 2:
            raise ValueError(f"features must be even, got {features}")
        self.features = features
        self.net = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """Times ``(*shape)`` to embeddings ``(*shape, dim)``."""
        precise = t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
        weights = next(self.net.parameters()).dtype
        return self.net(sinusoid(precise, self.features).to(weights))


class ConditionEmbedding(nn.Module):
    """Sum of the embeddings of all conditions, with a learned null vector for each.

    Class ids go through a table, real values through a linear map of their flattened entries. A row whose
    condition is withheld (``null``, ``null_<name>``), or absent from the call, gets the null vector.

    Args:
        conditions: what may come, by name; masks, prompts and ``x0`` are left to the network.
        dim: size of the embedding.
    """

    def __init__(self, conditions: Mapping[str, Condition], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.names = tuple(name for name in conditions if informative(name))
        self.embed = nn.ModuleDict()
        self.null = nn.ParameterDict()
        for name in self.names:
            condition, key = conditions[name], module_name(name)
            if condition.classes is not None:
                table = nn.Embedding(condition.classes, dim)
                nn.init.normal_(table.weight, std=0.02)
                self.embed[key] = table
            else:
                self.embed[key] = nn.Linear(max(1, math.prod(condition.shape)), dim)
            self.null[key] = nn.Parameter(0.02 * torch.randn(dim))

    def forward(self, cond: Mapping[str, Tensor | None], batch: int) -> Tensor | float:
        """Embedding of shape ``(batch, dim)``, or 0.0 where there is nothing to embed."""
        total: Tensor | float = 0.0
        for name in self.names:
            embed, null = self.embed[module_name(name)], self.null[module_name(name)]
            value = cond.get(name)
            if value is None:
                total = total + null.expand(batch, -1)
                continue
            if isinstance(embed, nn.Linear):
                value = value.reshape(batch, -1).to(null.dtype)
            vector = embed(value)
            rows = withheld(cond, name)
            total = total + (vector if rows is None else torch.where(rows[:, None], null, vector))
        return total
