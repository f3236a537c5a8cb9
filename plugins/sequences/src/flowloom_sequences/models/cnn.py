"""A dilated convolutional network for DNA."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.layout import Layout
from flowloom.models import told_apart
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_sequences.models.tokens import Context, TokenInput, sequence_shape, tokens_of

_DILATIONS = (1, 1, 4, 16, 64)


class DilatedCNN(nn.Module):
    """Residual convolutions of kernel 9 whose dilations grow 1, 1, 4, 16, 64, as in 2402.05841 (appendix).

    Every layer adds its own linear map of the time (and class) embedding, normalises, convolves and adds
    the result; four stacks of the five dilations make the paper's 20 layers at width 128. Padding is zeroed
    before every convolution. Reads token ids and simplex points alike; safe under ``torch.func.jvp``,
    ``torch.compile`` and bf16.

    Args:
        spec: of the states: tokens ``(L,)`` or rows ``(L, K)``.
        width: channels.
        stacks: how often the dilations repeat.
        kernel: size of the kernels, odd.
        dropout: before every convolution, in training.
    """

    conditional = True

    def __init__(
        self, spec: Spec, width: int = 128, stacks: int = 4, kernel: int = 9, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require_sizes(width=width)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that lengths are kept; got {kernel}")
        self.spec = spec
        self.length, self.vocab = sequence_shape(spec, "dilated-cnn")
        self.embed = TokenInput(self.vocab, width)
        self.first = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.context = Context(spec, width)
        dilations = _DILATIONS * stacks
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=d, padding=d * (kernel // 2)) for d in dilations
        )
        self.steer = nn.ModuleList(nn.Linear(width, width) for _ in dilations)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.dropout = dropout
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.vocab))

    def features(self, x: State, t: Time, cond: dict[str, Tensor]) -> Tensor:
        """Features ``(B, L, width)`` before the output layers."""
        x = tokens_of(x, self.length, "dilated-cnn")
        assert isinstance(t, Tensor)
        embedded = self.embed(x)
        mask = (Layout.of(self.spec, cond) or Layout()).real
        real = None if mask is None else mask[..., None].to(embedded.dtype)
        context = F.relu(self.context(t, cond, embedded.dtype))
        hidden = F.relu(_along(self.first, embedded, real))
        for convolution, steer, norm in zip(self.convolutions, self.steer, self.norms, strict=True):
            inner = F.dropout(norm(hidden + steer(context)), self.dropout, self.training)
            hidden = hidden + F.relu(_along(convolution, inner, real))
        return hidden

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """States ``(B, L)`` or ``(B, L, K)`` and times ``(B,)`` or ``(B, L)`` to logits ``(B, L, K)``."""
        return self.out(self.features(x, t, cond))


class SequenceClassifier(nn.Module):
    """A dilated CNN with a pooled head: the noisy classifier that guides a simplex flow.

    Args:
        spec: of the states; its condition ``label`` says how many classes.
        width: channels.
        stacks: see `DilatedCNN`.
        label: name of the class condition.
    """

    def __init__(self, spec: Spec, width: int = 64, stacks: int = 1, label: str = "label") -> None:
        super().__init__()
        blind, self.classifies = told_apart(spec, label)
        self.body = DilatedCNN(blind, width, stacks)
        self.out = nn.Linear(width, self.classifies)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Class logits ``(B, classes)``."""
        features = self.body.features(x, t, cond)
        mask = (Layout.of(self.body.spec, cond) or Layout()).real
        if mask is None:
            return self.out(features.mean(1))
        weight = mask[..., None].to(features.dtype)
        return self.out((features * weight).sum(1) / weight.sum(1).clamp_min(1))


def _along(convolution: nn.Module, x: Tensor, real: Tensor | None) -> Tensor:
    """Convolve ``(B, L, width)`` along L with padding zeroed."""
    return torch.transpose(convolution((x if real is None else x * real).transpose(1, 2)), 1, 2)
