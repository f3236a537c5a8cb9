"""A convolution as a bijection of the whole image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class FullConv(Bijection):
    r"""A convolution with zeros around the image, as many channels out as in: a D x D matrix of few numbers.

    .. math:: y = T(w) x + b, \qquad \log|\det| = \log|\det T(w)|

    (2305.15267, section 5). `transform` and `inverse` write T out, which costs :math:`O(D^2)` memory and
    :math:`O(D^3)` time; `unnormalised`, all that is needed in training, convolves.

    Args:
        channels: of images ``(batch, channels, H, W)``.
        kernel: its side, odd.
        start: w starts as this multiple of the identity.
    """

    def __init__(self, channels: int, kernel: int = 7, start: float = 1.0) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is odd and counts from 1, got {kernel}")
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        with torch.no_grad():
            nn.init.dirac_(self.conv.weight).mul_(start)
            self.conv.bias.normal_(std=0.01)  # type: ignore[union-attr]

    def _matrix(self, shape: torch.Size) -> Tensor:
        """T, ``(D, D)``, column by column."""
        basis = torch.eye(shape.numel(), dtype=self.conv.weight.dtype, device=self.conv.weight.device)
        columns = nn.functional.conv2d(basis.reshape(-1, *shape), self.conv.weight, padding=self.conv.padding)
        return columns.flatten(1).T

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Convolve, and take the determinant of the matrix."""
        return self.conv(x), torch.linalg.slogdet(self._matrix(x.shape[1:]))[1].expand(len(x))

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Convolve."""
        return self.conv(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Solve."""
        assert self.conv.bias is not None
        centred = (z - self.conv.bias[:, None, None]).flatten(1).T
        return torch.linalg.solve(self._matrix(z.shape[1:]), centred).T.reshape(z.shape)
