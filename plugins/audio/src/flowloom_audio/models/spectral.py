"""A waveform flow that works on frames of its spectrum: a fast vocoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_audio.models.frames_told import frames_told

__all__ = ["SpectralVocoder"]


class SpectralVocoder(nn.Module):
    r"""Velocities of waveforms, found in their short-time spectra, given log-mel frames.

    The waveform is cut into windows, one for every frame, and transformed; real and imaginary parts and the
    frame go through ConvNeXt blocks along frames, scaled, shifted and gated by the time, and what comes out
    is transformed back and overlapped. The network is that of Vocos (2306.00814), asked as a flow is; RFWave
    (2403.05010) does so band by band. Nothing inside is longer than the frames, which makes it many times
    faster than estimators that work on samples.

    Besides what it adds, the network answers with a gain for every bin of :math:`x_t`: for a Gaussian signal
    of spectrum S in noise of spectrum :math:`\sigma^2` the exact velocity is one,

    .. math:: \frac{t S - (1 - t) \sigma^2}{t^2 S + (1 - t)^2 \sigma^2}.

    Args:
        spec: of the states, waveforms ``(samples,)``, with the frames as a condition; injected.
        mel: name of the condition of frames ``(frames, bands)``.
        window: samples of a transform; None for four times those of a frame.
        width: channels.
        depth: number of blocks.
        kernel: frames that a block sees, odd.

    Raises:
        IncompatibleError: the data are no waveforms, or lack the frames.
    """

    conditional = True
    shape: Tensor

    def __init__(
        self,
        spec: Spec,
        mel: str = "mel",
        window: int | None = None,
        width: int = 512,
        depth: int = 8,
        kernel: int = 7,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, kernel=kernel)
        frames = frames_told(spec, mel, "spectral-vocoder")
        if kernel % 2 == 0:
            raise ValueError(f"kernel is odd, got {kernel}")
        self.spec, self.name = spec, mel
        self.ignored = tuple(name for name in spec.named("inform") if name != mel)
        self.hop = spec.shape[0] // frames.shape[0]
        self.window = 4 * self.hop if window is None else window
        if self.window % 2 or self.window < 2 * self.hop:
            raise ValueError(f"window is even and at least two hops of {self.hop} samples, got {self.window}")
        told = {n: c for n, c in spec.conditions.items() if c.role == "setting"}
        self.time, self.whole = TimeEmbedding(width), ConditionEmbedding(told, width)
        bins, bands = self.window // 2 + 1, frames.shape[1]
        self.silent = nn.Parameter(0.02 * torch.randn(width))
        # Logarithms are far from 0: the norm brings what is made of them to the size of all else.
        self.read, self.calm = nn.Linear(bands, width), nn.LayerNorm(width)
        self.enter = nn.Conv1d(2 * bins, width, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(_Block(width, kernel) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.steer = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, 3 * bins)
        for layer in (self.steer, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("shape", torch.hann_window(self.window), persistent=False)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Waveforms ``(batch, samples)`` and times ``(batch,)`` to velocities of the same shape."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond)
        x = x if layout is None else layout.zero(x)
        # There are no complex numbers of half precision that could be transformed.
        seen = self._transformed(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)
        parts = torch.cat([seen.real, seen.imag], -1).to(x.dtype)
        hidden = self.enter(parts.transpose(1, 2)).transpose(1, 2) + self._told(x, cond)
        steer = F.silu(self.time(t) + self.whole(cond, len(x)))[:, None]
        for block in self.blocks:
            hidden = block(hidden, steer)
        scale, shift = self.steer(steer).chunk(2, -1)
        said = self.out(self.norm(hidden) * (1 + scale) + shift).to(seen.real.dtype)
        real, imag, gain = said.chunk(3, -1)
        velocity = self._heard(torch.complex(real, imag) + gain * seen, x.shape[1]).to(x.dtype)
        return velocity if layout is None else layout.zero(velocity)

    def _told(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """Frames as features ``(batch, transforms, width)``: the last one once more, at the end."""
        mel, count = cond.get(self.name), -(-x.shape[1] // self.hop) + 1
        if mel is None:
            return self.silent.expand(len(x), count, -1)
        frames = self.calm(self.read(mel[:, : count - 1].to(x.dtype)))
        frames = torch.cat([frames, frames[:, -1:]], 1)
        rows = withheld(cond, self.name)
        return frames if rows is None else torch.where(rows[:, None, None], self.silent, frames)

    def _transformed(self, x: Tensor) -> Tensor:
        """Windows around every frame, as complex spectra ``(batch, transforms, bins)`` of unit deviation."""
        half = self.window // 2
        whole = F.pad(x, (half, half + -x.shape[1] % self.hop))
        shape = self.shape.to(x.dtype)
        return torch.fft.rfft(whole.unfold(1, self.window, self.hop) * shape) / shape.square().sum().sqrt()

    def _heard(self, spectra: Tensor, samples: int) -> Tensor:
        """The waveform whose windows they are, as nearly as there is one (Griffin and Lim 1984)."""
        shape = self.shape.to(spectra.real.dtype)
        pieces = torch.fft.irfft(spectra * shape.square().sum().sqrt(), n=self.window) * shape
        count = pieces.shape[1]
        length = (count - 1) * self.hop + self.window
        laid = {"output_size": (1, length), "kernel_size": (1, self.window), "stride": (1, self.hop)}
        total = F.fold(pieces.transpose(1, 2), **laid)[:, 0, 0]
        energy = shape.square()[None, :, None].expand(1, -1, count)
        weight = F.fold(energy, **laid)[:, 0, 0]
        half = self.window // 2
        return (total / weight.clamp_min(1e-6))[:, half : half + samples]


class _Block(nn.Module):
    """A ConvNeXt block along frames, scaled, shifted and gated by the time."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.steer = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """``(batch, frames, width)`` and contexts ``(batch, 1, width)`` to the same."""
        scale, shift, gate = self.steer(steer).chunk(3, -1)
        hidden = self.norm(self.near(x.transpose(1, 2)).transpose(1, 2)) * (1 + scale) + shift
        return x + (1 + gate) * self.narrow(F.gelu(self.wide(hidden)))
