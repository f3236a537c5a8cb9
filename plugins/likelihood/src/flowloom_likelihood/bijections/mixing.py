"""Bijections that mix channels: an invertible 1x1 convolution, and the fixed orders that it replaces."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class InvertibleConv(Bijection):
    r"""A learned linear map of the channels, the same at every place, by its LU decomposition.

    .. math:: W = P L (U + \mathrm{diag}(s)), \qquad \log|\det| = HW \sum_c \log |s_c|

    with a fixed permutation P, L unit lower and U strictly upper triangular (1807.03039, equations 9 to 11).
    W starts as a random rotation. The signs of s stay as they start, so that W can never become singular.

    Args:
        channels: of images ``(batch, channels, H, W)``.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def _factors(self) -> tuple[Tensor, Tensor]:
        one = torch.eye(len(self.sign), device=self.sign.device, dtype=self.lower.dtype)
        diagonal = (self.sign * self.log_diagonal.exp()).diag()
        return self.lower.tril(-1) + one, self.upper.triu(1) + diagonal

    @property
    def weight(self) -> Tensor:
        """W, ``(channels, channels)``."""
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Mix."""
        y, _ = self.unnormalised(x, cond)
        return y, (self.log_diagonal.sum() * math.prod(x.shape[2:])).expand(len(x))

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Mix; the determinant is the same for every x."""
        return nn.functional.conv2d(x, self.weight[:, :, None, None]), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Two triangular solves, instead of an inverse matrix."""
        lower, upper = self._factors()
        columns = torch.einsum("dc,ndp->cnp", self.permutation, z.flatten(2)).flatten(1)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        return columns.reshape(z.shape[1], len(z), math.prod(z.shape[2:])).transpose(0, 1).reshape(z.shape)


class Reorder(Bijection):
    """A fixed order of the channels: reversed as in RealNVP (1605.08803), or drawn once.

    Args:
        channels: of images ``(batch, channels, H, W)``.
        order: ``reverse`` or ``shuffle``.
    """

    order: Tensor

    def __init__(self, channels: int, order: Literal["reverse", "shuffle"] = "reverse") -> None:
        super().__init__()
        if order not in ("reverse", "shuffle"):
            raise ValueError(f"order is reverse or shuffle, got {order!r}")
        drawn = torch.arange(channels).flip(0) if order == "reverse" else torch.randperm(channels)
        self.register_buffer("order", drawn)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Reorder; volumes stay."""
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Back in the old order."""
        return z[:, self.order.argsort()]
