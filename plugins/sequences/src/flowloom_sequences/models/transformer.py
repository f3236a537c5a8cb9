"""A bidirectional transformer with adaptive layer norms and rotary positions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_sequences.models.tokens import Context, TokenInput, sequence_shape, tokens_of

Size = Literal["tiny", "small", "medium"]

SIZES: dict[Size, tuple[int, int, int]] = {
    "tiny": (128, 4, 4),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
}
"""Width, depth and heads; ``small`` is the one of discrete flow matching and masked diffusion papers."""


class SequenceTransformer(nn.Module):
    """Reads all tokens at once and answers with logits for each.

    Time and conditions scale, shift and gate every block (adaLN-Zero, 2212.09748); positions enter by
    rotating queries and keys (2104.09864), so nothing is tied to an absolute place; attention is torch's
    fused ``scaled_dot_product_attention``. Padding (``mask``) is never attended to. Reads token ids and
    simplex points alike. Safe under ``torch.func.jvp``, ``torch.compile`` and bf16.

    Args:
        spec: of the states: tokens ``(L,)`` or rows ``(L, K)``.
        size: width, depth and heads by name.
        width: instead of the size's.
        depth: number of blocks, instead of the size's.
        heads: instead of the size's.
        dropout: in training, after attention and MLP.
        tie: logits from the transposed embedding table instead of a layer of their own.
        local: width of a depthwise convolution before every attention (odd), 0 for none: small networks then
            need not learn from attention what neighbours are (2109.08668).
        see_prompt: also tell every token whether it is given (part of a prompt), for sources from
            which that does not show.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        size: Size = "tiny",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        dropout: float = 0.0,
        tie: bool = False,
        local: int = 0,
        see_prompt: bool = False,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads)
        self.spec = spec
        self.length, self.vocab = sequence_shape(spec, "sequence-transformer")
        width, depth, heads = width or SIZES[size][0], depth or SIZES[size][1], heads or SIZES[size][2]
        if width % heads or (width // heads) % 2:
            raise IncompatibleError(f"width {width} must divide into {heads} heads of even size")
        self.embed = TokenInput(self.vocab, width, std=0.1)
        self.prompt = nn.Parameter(torch.zeros(width)) if see_prompt else None
        self.context = Context(spec, width)
        if local and local % 2 == 0:
            raise ValueError(f"local must be odd, so that both sides are seen alike; got {local}")
        self.blocks = nn.ModuleList(Block(width, heads, dropout, local) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.out = None if tie else nn.Linear(width, self.vocab)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        if self.out is not None:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """States ``(B, L)`` or ``(B, L, K)`` and times ``(B,)`` or ``(B, L)`` to logits ``(B, L, K)``."""
        x = tokens_of(x, self.length, "sequence-transformer")
        assert isinstance(t, Tensor)
        hidden = self.embed(x)
        layout = Layout.of(self.spec, cond) or Layout()
        if self.prompt is not None and layout.given is not None:
            hidden = hidden + layout.given[..., None] * self.prompt
        context = F.silu(self.context(t, cond, hidden.dtype))
        mask = layout.real
        # A row of padding alone would attend to nothing, which is NaN: let it see its first entry.
        seen = None if mask is None else (mask | ~mask.any(1, keepdim=True))[:, None, None]
        angles = rotary(x.shape[1], hidden.shape[-1] // self.blocks[0].heads, hidden)
        for block in self.blocks:
            hidden = block(hidden, context, angles, seen)
        shift, scale = self.modulate(context).chunk(2, -1)
        hidden = self.norm(hidden) * (1 + scale) + shift
        if self.out is not None:
            return self.out(hidden)
        return hidden @ self.embed.table.weight[: self.vocab].T * hidden.shape[-1] ** -0.5
