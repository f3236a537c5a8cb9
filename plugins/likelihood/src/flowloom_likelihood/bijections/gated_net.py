"""The network of Flow++'s couplings: gated convolutions and gated self-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes


class StartedConv(nn.Conv2d):
    """A convolution that can start at mean 0 and a given deviation of every channel over a first batch.

    Args:
        inputs: channels in.
        outputs: channels out.
        side: of its kernel, odd.
        deviation: of the outputs at first.
    """

    def __init__(self, inputs: int, outputs: int, side: int = 1, deviation: float = 1.0) -> None:
        super().__init__(inputs, outputs, side, padding=side // 2)
        self.deviation = deviation
        nn.init.normal_(self.weight, std=0.05)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def start(self, x: Tensor) -> None:
        """Scale and shift so that the outputs of ``x`` are so."""
        assert self.bias is not None
        var, mean = torch.var_mean(super().forward(x), (0, 2, 3), correction=0)
        scale = self.deviation * (var + 1e-8).rsqrt()
        self.weight.mul_(scale[:, None, None, None])
        self.bias.sub_(mean).mul_(scale)

    def answer(self, x: Tensor, initialise: bool) -> Tensor:
        """Outputs, after having started on ``x`` where it is to be initialised."""
        if initialise:
            self.start(x)
        answer: Tensor = self(x)
        return answer


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, beside each other: twice the channels."""
    return nn.functional.elu(torch.cat([x, -x], 1))


def gated(x: Tensor) -> Tensor:
    """One half of the channels times the sigmoid of the other."""
    return nn.functional.glu(x, 1)


class GatedConv(nn.Module):
    """``x`` plus a gated convolution of it, which may know a context (1902.00275, section 3.3).

    Args:
        width: channels.
        context: channels of the context, 0 for none.
        side: of the second kernel.
        dropout: probability.
    """

    def __init__(self, width: int, context: int = 0, side: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = StartedConv(2 * width, width, 3)
        self.told = StartedConv(2 * context, width) if context else None
        self.dropout = nn.Dropout(dropout)
        self.second = StartedConv(2 * width, 2 * width, side, 0.1)

    def forward(self, x: Tensor, context: Tensor | None = None, initialise: bool = False) -> Tensor:
        """``(batch, width, H, W)`` in and out."""
        hidden = self.first.answer(concat_elu(x), initialise)
        if self.told is not None and context is not None:
            hidden = hidden + self.told.answer(concat_elu(context), initialise)
        return x + gated(self.second.answer(self.dropout(concat_elu(hidden)), initialise))


class GatedAttention(nn.Module):
    """``x`` plus gated self-attention of all places of it (1902.00275, section 3.3).

    Args:
        width: channels.
        heads: of the attention.
        dropout: probability.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = StartedConv(width, 3 * width), StartedConv(width, 2 * width, 1, 0.1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor, initialise: bool = False) -> Tensor:
        """``(batch, width, H, W)`` in and out, with learned ``places`` ``(width, H, W)``."""
        asked = self.qkv.answer(x + places, initialise).flatten(2).unflatten(1, (3, self.heads, -1))
        q, k, v = asked.transpose(-1, -2).unbind(1)
        seen = attend(q, k, v).transpose(-1, -2).reshape(x.shape)
        return x + gated(self.out.answer(self.dropout(seen), initialise))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every place."""

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, H, W)`` in and out."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GatedNet(nn.Module):
    """Blocks of gated convolution and gated attention, each behind a LayerNorm, between two convolutions.

    Args:
        shape: ``(C, H, W)`` of what it reads.
        outputs: channels out.
        width: channels between.
        blocks: their number.
        heads: of the attention; 0 for convolutions alone.
        context: channels of a context, 0 for none.
        dropout: probability.

    Raises:
        ValueError: a size cannot be, or channels do not divide into heads.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        width: int,
        blocks: int,
        heads: int = 4,
        context: int = 0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        require_sizes(filters=width, outputs=outputs)
        if min(blocks, heads, context) < 0 or (heads and width % heads):
            raise ValueError(
                f"blocks, heads and context count from 0, and filters divide into heads; got {blocks}, "
                f"{heads} and {context}, and {width} filters"
            )
        self.places = nn.Parameter(0.01 * torch.randn(width, *shape[1:])) if heads else None
        self.into = StartedConv(shape[0], width, 3)
        self.convs = nn.ModuleList(GatedConv(width, context, dropout=dropout) for _ in range(blocks))
        self.attentions = nn.ModuleList(
            GatedAttention(width, heads, dropout) for _ in range(blocks if heads else 0)
        )
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range((2 if heads else 1) * blocks))
        self.out = StartedConv(width, outputs, 3, 0.1)

    def forward(self, x: Tensor, context: Tensor | None = None, initialise: bool = False) -> Tensor:
        """``(batch, C, H, W)`` to ``(batch, outputs, H, W)``; the context has the same places."""
        x, norms = self.into.answer(x, initialise), iter(self.norms)
        for number, conv in enumerate(self.convs):
            x = next(norms)(conv(x, context, initialise))
            if self.places is not None:
                x = next(norms)(self.attentions[number](x, self.places, initialise))
        return self.out.answer(x, initialise)
