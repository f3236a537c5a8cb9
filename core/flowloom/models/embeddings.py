"""Embeddings of times and conditions, shared by the networks of every domain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import ShapeError
from flowloom.module_names import module_name
from flowloom.spec import Condition


def sinusoid(t: Tensor, dim: int, lowest: float = 0.25, highest: float = 12.0) -> Tensor:
    """Cosines and sines of a time at frequencies spread evenly in their logarithm: ``(*t.shape, dim)``.

    Frequencies are those of times of order 1: few-step objectives differentiate networks by time, and the
    thousand-fold frequencies that steps of diffusion models are embedded with (Ho et al. 2020) would make
    that derivative a thousand times the function's own size.

    Args:
        t: times of order 1, such as those in ``[0, 1]``.
        dim: number of features, even.
        lowest: smallest angular frequency.
        highest: largest angular frequency, which bounds the derivative.
    """
    half = dim // 2
    steps = torch.linspace(0, 1, half, device=t.device, dtype=t.dtype)
    frequencies = lowest * (highest / lowest) ** steps
    angle = t[..., None] * frequencies
    return torch.cat([angle.cos(), angle.sin()], -1)


class TimeEmbedding(nn.Module):
    """Sinusoidal features of a time followed by a two-layer SiLU network.

    Features are taken in at least single precision, whatever the weights are: half precision cannot tell
    0.997 from 1.

    Args:
        dim: size of the embedding.
        features: number of sinusoidal features, even.
        highest: largest angular frequency of the features; see `sinusoid`.
    """

    def __init__(self, dim: int, features: int = 256, highest: float = 12.0) -> None:
        super().__init__()
        if features % 2:
            raise ValueError(f"features must be even, got {features}")
        self.features, self.highest = features, highest
        self.net = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """Times ``(*shape)`` to embeddings ``(*shape, dim)``."""
        precise = t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
        weights = next(self.net.parameters()).dtype
        return self.net(sinusoid(precise, self.features, highest=self.highest).to(weights))


class ConditionEmbedding(nn.Module):
    """Sum of the embeddings of all conditions, with a learned null vector for each.

    Class ids go through a table (the mean of their vectors, where a row has several), real values through a
    linear map of their flattened entries. A row whose condition is withheld (``null``, ``null_<name>``), or
    absent from the call, gets the null vector. Settings (a second time, a guidance scale) are embedded as
    times are, and are never withheld.

    Args:
        conditions: what may come, by name; those that speak of the state's layout are left to the network.
        dim: size of the embedding.
    """

    def __init__(self, conditions: Mapping[str, Condition], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.names = tuple(n for n, c in conditions.items() if c.role == "inform")
        self.settings = nn.ModuleDict(
            {module_name(n): TimeEmbedding(dim) for n, c in conditions.items() if c.role == "setting"}
        )
        self._setting_names = tuple(n for n, c in conditions.items() if c.role == "setting")
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
        """Embedding of shape ``(batch, dim)``, or 0.0 where there is nothing to embed.

        Raises:
            ShapeError: a setting is missing.
        """
        total: Tensor | float = 0.0
        for name in self._setting_names:
            setting = cond.get(name)
            if setting is None:
                raise ShapeError(f"this network is steered by '{name}' and was called without it")
            total = total + self.settings[module_name(name)](setting.expand(batch))
        for name in self.names:
            embed, null = self.embed[module_name(name)], self.null[module_name(name)]
            value = cond.get(name)
            if value is None:
                total = total + null.expand(batch, -1)
                continue
            if isinstance(embed, nn.Linear):
                value = (value[:, None] if value.ndim == 1 else value.flatten(1)).to(null.dtype)
            vector = embed(value)
            if vector.ndim > 2:  # several class ids, such as the symbols of a text
                vector = vector.flatten(1, -2).mean(1)
            rows = withheld(cond, name)
            total = total + (vector if rows is None else torch.where(rows[:, None], null, vector))
        return total
