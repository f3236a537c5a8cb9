"""Closed forms that stay finite, with finite gradients, where the textbook ones divide zero by zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def safe_norm(v: Tensor, dim: int = -1) -> Tensor:
    """Euclidean norm along ``dim`` (kept) whose gradient at 0 is 0 instead of NaN."""
    squared = v.square().sum(dim, keepdim=True)
    positive = squared > 0
    return torch.where(positive, squared, 1).sqrt() * positive


def sinc(x: Tensor) -> Tensor:
    """``sin(x) / x`` with value 1 and derivative 0 at 0."""
    return torch.sinc(x / math.pi)
