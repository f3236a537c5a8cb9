"""The period-aware estimator of PeriodWave: a waveform seen folded at several periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import or_zeros, withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_audio.between import between
from flowloom_audio.models.frames_told import frames_told

__all__ = ["PeriodWave"]


class PeriodWave(nn.Module):
    """Velocities of waveforms, given log-mel frames (2408.07547).

    For every period p the waveform is folded to ``(samples / p, p)`` and run through one U-Net along time,
    whose kernels never mix the p columns: each column is one phase of the period. The U-Net is the same for
    all periods (the paper's period-conditional universal estimator), told apart by a learned embedding beside
    that of the time. Features of all periods are unfolded and summed, and a last block makes velocities of
    them. Frames go through ConvNeXt blocks, and are added at every resolution. Fully convolutional: any
    number of frames, with ``hop`` samples for each.

    Args:
        spec: of the states, waveforms ``(samples,)``, with the frames as a condition; injected.
        mel: name of the condition of frames ``(frames, bands)``.
        periods: at which the waveform is folded; without common divisors, no two see the same.
        width: channels at full resolution, which double with every stage.
        stages: how often time is divided by ``stride``.
        stride: of a stage.
        blocks: residual blocks a stage.
        mel_width: channels of the frames inside.
        mel_depth: ConvNeXt blocks of the frames.
        freeu: factors of skipped and of upsampled features when sampling (FreeU 2309.11497; the paper's are
            0.9 and 1.1), never in training; None for none.
        beside: name of a condition of further waveforms ``(channels, samples)``, which are read along.

    Raises:
        IncompatibleError: the data are no waveforms, or lack the frames, or what is to be beside them.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        mel: str = "mel",
        periods: Sequence[int] = (1, 2, 3, 5, 7),
        width: int = 32,
        stages: int = 3,
        stride: int = 4,
        blocks: int = 2,
        mel_width: int = 128,
        mel_depth: int = 4,
        freeu: tuple[float, float] | None = None,
        beside: str | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, stages=stages, blocks=blocks, mel_width=mel_width, mel_depth=mel_depth)
        frames = frames_told(spec, mel, "periodwave")
        further = None if beside is None else spec.conditions.get(beside)
        if beside is not None and (further is None or further.shape[1:] != spec.shape):
            raise IncompatibleError(
                f"periodwave is told waveforms in the condition '{beside}', (channels, {spec.shape[0]}); "
                f"the data has {sorted(spec.conditions)}"
            )
        if not periods or min(periods) < 1 or stride < 2:
            raise ValueError(
                f"periods are at least 1 and stride at least 2, got {list(periods)} and {stride}"
            )
        self.spec, self.name, self.periods, self.freeu = spec, mel, tuple(periods), freeu
        self.ignored = tuple(name for name in spec.named("inform") if name not in (mel, beside))
        self.beside, self.channels = beside, 1 if further is None else 1 + further.shape[0]
        self.hop, self.stride = spec.shape[0] // frames.shape[0], stride
        # A vocoder is to sound like its frames, whoever speaks: it is told nothing else but settings.
        told = {n: c for n, c in spec.conditions.items() if c.role == "setting"}
        self.time, self.whole = TimeEmbedding(4 * width), ConditionEmbedding(told, 4 * width)
        self.period = nn.Embedding(len(periods), 4 * width)
        self.silent = nn.Parameter(0.02 * torch.randn(mel_width))
        self.frames = nn.Conv1d(frames.shape[1], mel_width, 7, padding=3)
        self.read = nn.ModuleList(_ConvNeXt(mel_width) for _ in range(mel_depth))
        # Logarithms are far from 0: without norms before and after the blocks, steps of a usual size explode.
        self.stem, self.heard = nn.LayerNorm(mel_width), nn.LayerNorm(mel_width)
        widths = [width * 2**i for i in range(stages + 1)]
        self.enter = nn.Conv1d(self.channels, width, 7, padding=3)
        self.down, self.falling = nn.ModuleList(), nn.ModuleList()
        self.up, self.rising = nn.ModuleList(), nn.ModuleList()
        self.tell = nn.ModuleList(nn.Conv1d(mel_width, w, 1) for w in widths)
        for small, large in pairwise(widths):
            self.falling.append(_Blocks(small, 4 * width, blocks))
            self.down.append(nn.Conv1d(small, large, 2 * stride - 1, stride, stride - 1))
            self.up.append(nn.Conv1d(large, small, 3, padding=1))
            self.rising.append(_Blocks(small, 4 * width, blocks))
        self.middle = _Blocks(widths[-1], 4 * width, blocks)
        self.last = nn.ModuleList([nn.Conv1d(width, width, 7, padding=3), nn.Conv1d(width, 1, 7, padding=3)])

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Waveforms ``(batch, samples)`` and times ``(batch,)`` to velocities of the same shape."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        frames = self._told(x, cond)
        # As many channels as a stage has, then from frame to frame: the same by linearity, and cheaper.
        told = [tell(frames) for tell in self.tell]
        context = self.time(t) + self.whole(cond, len(x))
        waves = x[:, None] if self.beside is None else torch.cat([x[:, None], self._beside(x, cond)], 1)
        total: Tensor | float = 0.0
        for i, period in enumerate(self.periods):
            steer = F.silu(context + self.period.weight[i])
            total = total + self._folded(waves, told, steer, period)
        first, second = self.last
        velocity = second(F.silu(first(F.silu(total / len(self.periods) ** 0.5))))[:, 0]
        return velocity if layout is None else layout.zero(velocity)

    def _told(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """Frames as features ``(batch, channels, frames)``."""
        mel = cond.get(self.name)
        count = -(-x.shape[1] // self.hop)
        if mel is None:
            return self.silent[:, None].expand(len(x), -1, count)
        features = self.frames(mel[:, :count].to(x.dtype).transpose(1, 2))
        features = self.stem(features.transpose(1, 2)).transpose(1, 2)
        for block in self.read:
            features = block(features)
        features = self.heard(features.transpose(1, 2)).transpose(1, 2)
        rows = withheld(cond, self.name)
        return features if rows is None else torch.where(rows[:, None, None], self.silent[:, None], features)

    def _beside(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """The waveforms that are read along, 0 where they are withheld."""
        assert self.beside is not None
        return or_zeros(cond, self.beside, (self.channels - 1, x.shape[1]), x)

    def _folded(self, waves: Tensor, told: Sequence[Tensor], steer: Tensor, period: int) -> Tensor:
        """Features ``(batch, width, samples)`` of waveforms ``(batch, channels, samples)``, folded.

        Args:
            waves: see above.
            told: what frames say to every stage, ``(batch, channels, frames)`` each.
            steer: context of time and period ``(batch, 4 width)``.
            period: at which the waveforms are folded.
        """
        batch, _, samples = waves.shape
        whole = period * self.stride ** len(self.down)
        padded = F.pad(waves, (0, -samples % whole))
        # Columns stand in the batch: a kernel of (k, 1) on (samples / p, p) is a kernel of k on each of them.
        columns = padded.unflatten(2, (-1, period)).permute(0, 3, 1, 2).flatten(0, 1)
        steer = steer.repeat_interleave(period, 0)
        heard = []
        for i, frames in enumerate(told):
            # A kernel of a stage stands around the first of the samples that it joins.
            samples_each = period * self.stride**i
            cells = torch.arange(columns.shape[2] // self.stride**i, device=waves.device)
            heard.append(between(frames, cells * (samples_each / self.hop)).repeat_interleave(period, 0))
        hidden, skipped = self.enter(columns), []
        for i, (falling, down) in enumerate(zip(self.falling, self.down, strict=True)):
            hidden = falling(hidden + heard[i], steer)
            skipped.append(hidden)
            hidden = down(hidden)
        hidden = self.middle(hidden + heard[-1], steer)
        skip, backbone = (1.0, 1.0) if self.freeu is None or self.training else self.freeu
        for up, rising in zip(reversed(self.up), reversed(self.rising), strict=True):
            # Fewer channels first, then longer: the same by linearity, and cheaper.
            hidden = up(hidden).repeat_interleave(self.stride, 2)
            hidden = rising(backbone * hidden + skip * skipped.pop(), steer)
        features = hidden.unflatten(0, (batch, period)).permute(0, 2, 3, 1).flatten(2)
        return features[..., :samples]


class _ConvNeXt(nn.Module):
    """A ConvNeXt V2 block along time (2301.00808)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scale, self.shift = nn.Parameter(torch.zeros(3 * width)), nn.Parameter(torch.zeros(3 * width))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, frames)`` to the same."""
        hidden = F.gelu(self.wide(self.norm(self.near(x).transpose(1, 2))))
        # Global response normalisation: channels compete for their share of the row's energy.
        norm = hidden.square().sum(1, keepdim=True).add(1e-6).sqrt()
        hidden = hidden * (1 + self.scale * norm / (norm.mean(-1, keepdim=True) + 1e-6)) + self.shift
        return x + self.narrow(hidden).transpose(1, 2)


class _Blocks(nn.Module):
    """Residual dilated convolutions, each scaled and shifted by the context."""

    def __init__(self, width: int, context: int, count: int) -> None:
        super().__init__()
        self.steer = nn.ModuleList(nn.Linear(context, 2 * width) for _ in range(count))
        self.first = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=3**i, dilation=3**i) for i in range(count)
        )
        second = [nn.Conv1d(width, width, 3, padding=1) for _ in range(count)]
        # Each block starts as the identity: without norms, features otherwise grow from block to block.
        for last in second:
            nn.init.zeros_(last.weight)
        self.second = nn.ModuleList(second)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """``(batch, width, length)`` and contexts ``(batch, context)``."""
        for steer, first, second in zip(self.steer, self.first, self.second, strict=True):
            scale, shift = steer(context)[..., None].chunk(2, 1)
            x = x + second(F.silu(first(F.silu(x)) * (1 + scale) + shift))
        return x
