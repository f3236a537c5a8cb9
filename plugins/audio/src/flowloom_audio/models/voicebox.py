"""The audio network of Voicebox, which SpeechFlow pre-trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding
from flowloom.models.attention import attend
from flowloom.models.embeddings import sinusoid
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_audio.models.reading import beside, heard

__all__ = ["Voicebox"]


class Voicebox(nn.Module):
    r"""Frames and those beside them through a transformer with long skips (Le et al. 2306.15687).

    A convolution gives places; time is one more token, its sinusoids as they are; attention to a frame at a
    distance is less by a slope for every head, either way (ALiBi, 2108.12409: :math:`-m_h |i - j|`); block
    L - i reads block i's input beside its own. SpeechFlow (2310.16338) is this with 24 blocks of 16 heads,
    1024 and 4096 wide: 330 million parameters. Classes and numbers are added to the token of the time.

    Args:
        spec: of the states, frames ``(frames, bands)``; injected from the recipe.
        width: of the frames inside.
        depth: number of blocks, even.
        heads: of the attention.
        hidden: width of the feed-forward layers; four times ``width`` where None.
        kernel: of the convolution, odd.
        groups: of the convolution.
        dropout: in training, after attention and feed-forward layers.
        ignore: conditions that it is not told.

    Raises:
        IncompatibleError: a size does not divide, or there is text or a voice that it cannot hear.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        hidden: int | None = None,
        kernel: int = 31,
        groups: int = 16,
        dropout: float = 0.0,
        ignore: Sequence[str] = (),
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, kernel=kernel, groups=groups)
        if width % heads or width % groups or width % 2 or depth % 2 or kernel % 2 == 0:
            raise IncompatibleError(
                f"width {width} must be even and divide into {heads} heads and {groups} groups, depth "
                f"{depth} be even, and kernel {kernel} odd"
            )
        self.spec, self.width = spec, width
        self.told = heard(spec, ignore, (), "voicebox")
        self.ignored = self.told.ignored
        if unheard := (*self.told.texts, *self.told.voices):
            raise IncompatibleError(
                f"voicebox hears frames beside the state, and '{unheard[0]}' is none; name it in ignore"
            )
        bands = spec.shape[1]
        sizes = {name: spec.conditions[name].shape[1] for name in self.told.beside}
        self.enter = nn.Linear(bands + sum(sizes.values()), width)
        self.missing = nn.ParameterDict(
            {module_name(name): nn.Parameter(0.02 * torch.randn(size)) for name, size in sizes.items()}
        )
        self.places = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        self.whole = ConditionEmbedding(self.told.whole, width)
        self.blocks = nn.ModuleList(_Block(width, heads, hidden or 4 * width, dropout) for _ in range(depth))
        self.joins = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth // 2))
        self.slopes: Tensor
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.register_buffer("slopes", slopes, persistent=False)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, bands)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Frames ``(batch, frames, bands)`` and times ``(batch,)`` to as many frames."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond) or Layout()
        frames = [beside(cond, name, self.missing[module_name(name)], x) for name in self.told.beside]
        hidden = layout.zero(self.enter(torch.cat([layout.zero(x), *frames], -1)))
        hidden = hidden + F.gelu(self.places(hidden.transpose(1, 2))).transpose(1, 2)
        precise = t.float() if t.dtype in (torch.float16, torch.bfloat16) else t
        steer = sinusoid(precise, self.width).to(hidden.dtype) + self.whole(cond, len(x))
        tokens = torch.cat([steer[:, None], hidden], 1)
        bias = self._bias(tokens, layout.real)
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i < len(self.joins):
                skips.append(tokens)
            else:
                tokens = self.joins[i - len(self.joins)](torch.cat([tokens, skips.pop()], -1))
            tokens = block(tokens, bias)
        answer: Tensor = layout.zero(self.out(self.norm(tokens[:, 1:])))
        return answer

    def _bias(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        """What attention adds, ``(1 or batch, heads, tokens, tokens)``; the time is near to every frame."""
        places = torch.arange(tokens.shape[1], device=tokens.device, dtype=tokens.dtype)
        apart = (places[:, None] - places).abs()
        apart[0], apart[:, 0] = 0, 0
        bias = -self.slopes.to(tokens.dtype)[:, None, None] * apart
        if real is None:
            return bias[None]
        # The token of the time is always there, so that no row attends to nothing.
        seen = F.pad(real, (1, 0), value=True)[:, None, None]
        return bias[None].masked_fill(~seen, -torch.inf)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, bias=bias).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.proj(mixed))
        out: Tensor = x + self.dropout(self.mlp(self.norms[1](x)))
        return out
