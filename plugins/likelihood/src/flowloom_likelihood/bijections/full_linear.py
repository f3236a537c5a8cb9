"""A full matrix as a bijection."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class FullLinear(Bijection):
    r"""A learned square matrix of the channels, the same at every place; of a vector, of all of it.

    .. math:: y = W x + b, \qquad \log|\det| = HW \log|\det W|

    Its determinant costs :math:`O(C^3)` and does not depend on x: `unnormalised` does not compute it
    (2305.15267, section 3).

    Args:
        channels: C, of states ``(batch, C, *places)``.
        bias: whether there is b, which starts at 1 as in the code of 2305.15267.
        start: W starts as this multiple of the identity, with normal noise of deviation ``noise``.
        noise: deviation of what is added to the start.
    """

    def __init__(self, channels: int, bias: bool = True, start: float = 1.0, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(start * torch.eye(channels) + noise * torch.randn(channels, channels))
        self.bias = nn.Parameter(torch.ones(channels)) if bias else None

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Multiply, and take the determinant."""
        y, _ = self.unnormalised(x, cond)
        return y, (torch.linalg.slogdet(self.weight)[1] * math.prod(x.shape[2:])).expand(len(x))

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Multiply."""
        y = nn.functional.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)
        return y, x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Solve."""
        columns = z.movedim(1, -1)
        columns = columns if self.bias is None else columns - self.bias
        solved = torch.linalg.solve(self.weight, columns.reshape(-1, z.shape[1]).T).T
        return solved.reshape(columns.shape).movedim(-1, 1)
