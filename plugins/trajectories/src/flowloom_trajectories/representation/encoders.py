"""Windows of a series to a few numbers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset
from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes

__all__ = ["PcaEncoder", "WindowEncoder"]


class WindowEncoder(nn.Module):
    """Strided convolutions along time, the mean over what is left of it, and a linear map.

    The mean forgets when things happen, so that a window and a later one look alike.

    Args:
        channels: of the windows.
        dim: numbers a window.
        widths: channels of each convolution.
        kernel: of the convolutions, odd.
    """

    def __init__(
        self, channels: int, dim: int, widths: tuple[int, ...] = (32, 64, 64), kernel: int = 7
    ) -> None:
        super().__init__()
        require_sizes(dim=dim, kernel=kernel, **{f"widths[{i}]": w for i, w in enumerate(widths)})
        if kernel % 2 == 0 or not widths:
            raise IncompatibleError(f"kernel must be odd and widths not empty, got {kernel}, {widths}")
        sizes = (channels, *widths)
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, kernel, stride=2, padding=kernel // 2) for a, b in pairwise(sizes)
        )
        self.out = nn.Linear(sizes[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        """Windows ``(batch, steps, channels)`` to ``(batch, dim)``."""
        hidden = x.transpose(1, 2)
        for layer in self.layers:
            hidden = F.silu(layer(hidden))
        answer: Tensor = self.out(hidden.mean(-1))
        return answer


class PcaEncoder(nn.Module):
    """Principal components of flattened windows, each of variance 1: fitted, and not trained.

    Args:
        size: entries of a window.
        dim: components.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        require_sizes(dim=dim)
        if dim > size:
            raise IncompatibleError(f"windows of {size} entries have no {dim} principal components")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.zeros(size, dim))

    def fit(self, data: Dataset, rows: int = 5000) -> None:
        """Find them in the training data."""
        x = data.take(data.evenly(rows)).x
        assert isinstance(x, Tensor)
        flat = x.flatten(1).to(self.mean)
        mean = flat.mean(0)
        _, sizes, axes = torch.linalg.svd(flat - mean, full_matrices=False)
        kept = min(len(sizes), self.axes.shape[1])
        scaled = axes[:kept].T * (len(flat) ** 0.5 / sizes[:kept].clamp_min(1e-6))
        self.mean.copy_(mean)
        self.axes.zero_()[:, :kept] = scaled

    def forward(self, x: Tensor) -> Tensor:
        """Windows ``(batch, steps, channels)`` to ``(batch, dim)``."""
        return (x.flatten(1) - self.mean) @ self.axes
