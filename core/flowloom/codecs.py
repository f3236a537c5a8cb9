"""Codecs: raw data to states and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.data.base import Dataset
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom.state import State


class Codec(nn.Module, ABC):
    """Maps data to the states a flow runs on, and back.

    A codec is a module: statistics it has fitted are buffers, saved with the run that used them.

    Args:
        spec: of the data; injected from the recipe.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.data_spec = spec

    @property
    def spec(self) -> Spec:
        """Spec of the states; the data's where a codec does not change it."""
        return self.data_spec

    def fit(self, data: Dataset) -> None:
        """Fit statistics on the training split. Called once, before training."""

    @abstractmethod
    def encode(self, x: Any) -> State:
        """Data ``(batch, *data)`` to states ``(batch, *event)``."""

    @abstractmethod
    def decode(self, x: Any) -> State:
        """States to data."""


class Identity(Codec):
    """Data are states already."""

    def encode(self, x: Any) -> State:
        """Return ``x``."""
        return x

    def decode(self, x: Any) -> State:
        """Return ``x``."""
        return x


class Standardize(Codec):
    """Subtract the mean and divide by the standard deviation of the training data.

    Args:
        spec: of the data; injected from the recipe.
        per_entry: statistics for every entry of the event, or one pair for all.
        rows: training rows to fit on, at most.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, per_entry: bool = True, rows: int = 10_000) -> None:
        super().__init__(spec)
        self.per_entry, self.rows = per_entry, rows
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(self, data: Dataset) -> None:
        """Measure the training data."""
        x = data.take(torch.arange(min(len(data), self.rows))).x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise DataError(
                "codec standardize takes one real-valued tensor; this data is tokens or a product"
            )
        self.mean = x.mean(0) if self.per_entry else x.mean()
        std = x.std(0) if self.per_entry else x.std()
        # A constant entry (an image's border) keeps its scale instead of dividing by zero.
        self.std = torch.where(std > 1e-6, std, torch.ones_like(std))

    def encode(self, x: Tensor) -> Tensor:
        """``(x - mean) / std``."""
        return (x - self.mean.to(x.device)) / self.std.to(x.device)

    def decode(self, x: Tensor) -> Tensor:
        """``x std + mean``."""
        return x * self.std.to(x.device) + self.mean.to(x.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Fitted statistics have the data's shape, which an unfitted codec cannot know.
        for name in ("mean", "std"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
