"""The diffusion transformer with adaLN-Zero blocks (DiT, SiT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_images.models.context import Context
from flowloom_images.models.image_spec import chosen, image_shape

Size = Literal["S", "B", "L", "XL"]

SIZES: dict[Size, tuple[int, int, int]] = {
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "XL": (1152, 28, 16),
}
"""Width, depth and heads of the sizes that the paper names."""


class DiT(nn.Module):
    """The transformer of Peebles and Xie (2212.09748), as SiT (2401.08740) trains it on velocities.

    Images are cut into patches, which become tokens with fixed two-dimensional sine-cosine positions;
    time and class enter every block by adaptive layer normalisation whose gates start at zero, so that
    the network starts as zero. Safe under ``torch.func.jvp``, ``torch.compile`` and bf16.

    Args:
        spec: of the data: images of real values.
        size: ``S``, ``B``, ``L`` or ``XL`` of the paper.
        patch: width of a patch in pixels; it must divide the image.
        width: of the tokens, instead of the size's.
        depth: number of blocks, instead of the size's.
        heads: attention heads, instead of the size's.
        mlp_ratio: hidden width of a block's feed-forward network over ``width``.
        dropout: after attention and feed-forward, in training.
        out_channels: channels of the output; those of the input when None. The paper's DiT predicts a
            variance too and has twice as many.
        conditions: names of the conditions to read, all of the data's when None; ``[]`` for an unconditional
            network on data that have classes.
        timed: False for a network that reads no time, as one that is only ever asked at one.

    Raises:
        IncompatibleError: the data are no images, or the patch does not divide them.
    """

    def __init__(
        self,
        spec: Spec,
        size: Size = "S",
        patch: int = 2,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        out_channels: int | None = None,
        conditions: Sequence[str] | None = None,
        timed: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(patch=patch, width=width, depth=depth, heads=heads)
        self.spec = spec
        if size not in SIZES:
            raise ValueError(f"size is one of {', '.join(SIZES)}, got {size!r}")
        channels, height, breadth = image_shape(spec, "DiT")
        if patch < 1 or height % patch or breadth % patch:
            raise IncompatibleError(
                f"a DiT cuts images into whole patches, and {height} x {breadth} is not divisible by "
                f"patch {patch}; choose a patch that divides both"
            )
        named = SIZES[size]
        width, depth, heads = width or named[0], depth or named[1], heads or named[2]
        if width % heads or width % 4:
            raise ValueError(
                f"width must be divisible by heads and by 4, got width {width} and heads {heads}"
            )
        self.patch, self.out_channels = patch, out_channels or channels
        self.grid = (height // patch, breadth // patch)
        self.to_tokens = nn.Conv2d(channels, width, patch, stride=patch)
        # Fixed, so not part of a checkpoint.
        self.register_buffer("positions", sincos_positions(*self.grid, width), persistent=False)
        read = chosen(spec, conditions)
        self.conditional = any(c.role == "inform" for c in read.values())
        self.context = Context(read, width, features=256, timed=timed)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.steer = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, patch * patch * self.out_channels)
        self._initialise()

    def _initialise(self) -> None:
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear) and not name.startswith("context.condition"):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        for name, layer in self.context.named_modules():
            if isinstance(layer, nn.Linear) and not name.startswith("condition"):
                nn.init.normal_(layer.weight, std=0.02)
        nn.init.xavier_uniform_(self.to_tokens.weight.view(len(self.to_tokens.weight), -1))
        nn.init.zeros_(self.to_tokens.bias)  # type: ignore[arg-type]
        closed = [block.steer for block in self.blocks if isinstance(block, Block)]
        for layer in (*closed, self.steer, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to ``(batch, out_channels, H, W)``."""
        context = F.silu(self.context(t, cond))
        tokens = self.to_tokens(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens, context)
        shift, scale = self.steer(context)[:, None].chunk(2, -1)
        return self._to_image(self.head(_modulated(self.norm(tokens), shift, scale)))

    def _to_image(self, patches: Tensor) -> Tensor:
        batch, (rows, columns), p = len(patches), self.grid, self.patch
        image = patches.reshape(batch, rows, columns, p, p, self.out_channels)
        return image.permute(0, 5, 1, 3, 2, 4).reshape(batch, self.out_channels, rows * p, columns * p)


class Block(nn.Module):
    """Attention and feed-forward, each normalised, steered and gated by the context (adaLN-Zero).

    Args:
        width: of the tokens.
        heads: of the attention.
        mlp_ratio: hidden width of the feed-forward network over ``width``.
        dropout: after attention and feed-forward.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        hidden = round(width * mlp_ratio)
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_feed = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)
        self.steer = nn.Linear(width, 6 * width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens ``(batch, count, width)`` and contexts ``(batch, width)``."""
        steer = self.steer(context)[:, None].chunk(6, -1)
        shift, scale, gate = steer[:3]
        mixed = self._attend(_modulated(self.norm_attention(tokens), shift, scale))
        tokens = torch.addcmul(tokens, gate, self.dropout(mixed))
        shift, scale, gate = steer[3:]
        fed = self.feed(_modulated(self.norm_feed(tokens), shift, scale))
        return torch.addcmul(tokens, gate, self.dropout(fed))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self.mix(attend(q, k, v).transpose(1, 2).reshape(batch, count, width))


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions of a grid, row by row: ``(rows * columns, width)``.

    The first half of the entries tells the row, the second the column, each by sines and cosines of
    frequencies from 1 down to 1/10,000 (Vaswani et al. 1706.03762, applied to either axis).

    Args:
        rows: of the grid.
        columns: of the grid.
        width: number of entries, divisible by 4.
    """
    quarter = width // 4
    frequency = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def axis(length: int) -> Tensor:
        angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)

    down = axis(rows)[:, None].expand(-1, columns, -1)
    across = axis(columns)[None].expand(rows, -1, -1)
    return torch.cat([down, across], -1).reshape(rows * columns, width).float()


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, x, 1 + scale)
