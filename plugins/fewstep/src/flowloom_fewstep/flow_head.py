"""A small perceptron that flows through what a token may be, told features of it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models import TimeEmbedding
from flowloom.models.sizes import require_sizes

__all__ = ["FlowHead", "normal"]


class FlowHead(nn.Module):
    r"""The diffusion head of MAR (Li et al. 2406.11838), as transition matching has it (2506.23589, A.1).

    .. math:: a(y, \tau, h)_n = \mathrm{MLP}\big(y_n;\ W h_n + e_\tau\big), \qquad
              y_n \leftarrow y_n + g \cdot \mathrm{MLP}'\big((1 + s)\,\mathrm{norm}(y_n) + b\big)

    with b, s and g of each layer linear in what is told.

    Args:
        entries: numbers of a token.
        features: width of what is told of it.
        width: of the layers.
        depth: layers.
    """

    def __init__(self, entries: int, features: int, width: int, depth: int) -> None:
        super().__init__()
        require_sizes(head_width=width, head_depth=depth)
        self.inner_time, self.told = TimeEmbedding(width), nn.Linear(features, width)
        self.into = nn.Linear(entries, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(depth))
        self.steer, self.out = nn.Linear(width, 2 * width), nn.Linear(width, entries)
        for layer in (self.steer, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """The inner velocity of every token by itself, ``(batch, tokens, entries)``.

        Args:
            y: tokens ``(batch, tokens, entries)``.
            tau: inner times, ``(batch,)`` or ``(batch, tokens)``.
            features: of every token, ``(batch, tokens, features)``.
        """
        time: Tensor = self.inner_time(tau.flatten()).unflatten(0, tau.shape)
        told = F.silu(self.told(features) + (time if tau.ndim > 1 else time[:, None]))
        hidden = self.into(y)
        for layer in self.layers:
            hidden = layer(hidden, told)
        shift, scale = self.steer(told).chunk(2, -1)
        out: Tensor = self.out(normal(hidden) * (1 + scale) + shift)
        return out


class _Layer(nn.Module):
    """Two linear maps, normalised, steered and gated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.steer = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        shift, scale, gate = self.steer(told).chunk(3, -1)
        fed: Tensor = self.feed(self.norm(x) * (1 + scale) + shift)
        return x + gate * fed


def normal(x: Tensor) -> Tensor:
    """Of mean 0 and variance 1 over the last dimension."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
