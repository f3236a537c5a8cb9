"""A causal transformer: language models, and judges of text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.layout import Layout
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_sequences.models.tokens import sequence_shape


class CausalTransformer(nn.Module):
    """Logits of every token given those before it: embedding, blocks that look back only, logits.

    It knows no time and reads no condition but what is real, which nothing before it depends on.

    Args:
        spec: of the data: token ids.
        width: of the blocks.
        depth: number of blocks.
        heads: of the attention.
    """

    def __init__(self, spec: Spec, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads)
        self.spec, self.size = spec, width // heads
        self.length, self.vocab = sequence_shape(spec, "causal-transformer")
        self.embed = nn.Embedding(self.vocab + 1, width)
        self.blocks = nn.ModuleList(Block(width, heads, 0.0) for _ in range(depth))
        # The blocks read a context; here it is one learned vector.
        self.context = nn.Parameter(torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, self.vocab)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Token ids ``(n, L)`` to logits ``(n, L, vocab)``."""
        assert isinstance(x, Tensor)
        layout = Layout.of(self.spec, cond)
        tokens: Tensor = x if layout is None else layout.zero(x)
        start = torch.full_like(tokens[:, :1], self.vocab)
        hidden = self.embed(torch.cat([start, tokens[:, :-1]], 1))
        angles = rotary(x.shape[1], self.size, hidden)
        behind = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for block in self.blocks:
            hidden = block(hidden, self.context, angles, behind)
        logits: Tensor = self.out(self.norm(hidden))
        return logits
