"""A transformer block that time and conditions steer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models.attention import attend, turn


class Block(nn.Module):
    """Attention and MLP, each scaled, shifted and gated by the context (adaLN-Zero, 2212.09748).

    Positions enter by rotating queries and keys (2104.09864), so nothing is tied to an absolute place.

    Args:
        width: of the tokens.
        heads: of the attention.
        dropout: after each branch.
        local: width of the depthwise convolution, 0 for none.
    """

    def __init__(self, width: int, heads: int, dropout: float, local: int = 0) -> None:
        super().__init__()
        self.local = nn.Conv1d(width, width, local, padding=local // 2, groups=width) if local else None
        self.heads, self.dropout = heads, dropout
        self.first = nn.LayerNorm(width, elementwise_affine=False)
        self.second = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self, x: Tensor, context: Tensor, angles: tuple[Tensor, Tensor], seen: Tensor | None
    ) -> Tensor:
        """Tokens ``(B, L, width)``; ``context`` ``(B, 1 or L, width)``; ``seen`` marks real keys."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(context).chunk(6, -1)
        b, n, width = x.shape
        inner = self.first(x) * (1 + scale1) + shift1
        if self.local is not None:
            # Padding must not leak into its neighbours.
            real = inner if seen is None else inner * seen.reshape(b, n, 1)
            inner = inner + self.local(real.transpose(1, 2)).transpose(1, 2)
        qkv = self.qkv(inner)
        q, k, v = qkv.reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = turn(q, angles), turn(k, angles)
        mixed = attend(q, k, v, seen).transpose(1, 2).reshape(b, n, width)
        x = x + gate1 * F.dropout(self.join(mixed), self.dropout, self.training)
        outer = self.mlp(self.second(x) * (1 + scale2) + shift2)
        return x + gate2 * F.dropout(outer, self.dropout, self.training)
