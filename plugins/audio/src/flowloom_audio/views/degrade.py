"""Noisy and reverberant copies of recordings, beside the recordings themselves."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.views import View
from flowloom.views.base import plus
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["AddNoise", "Reverberate", "gain"]


_DIRECT = 500
"""Nothing returns within this part of a second: two milliseconds."""


class _Degraded(View):
    """Adds a copy that something was done to, as a condition that informs the network.

    A copy that is there already (of a view before) is what it is done to: noise on reverberation.
    """

    word: str

    def __init__(self, name: str) -> None:
        self.name = name

    def spec(self, spec: Spec) -> Spec:
        """With the copy."""
        require_waves(spec, f"view {self.word}")
        own = spec.conditions.get(self.name)
        if own is not None and own.shape == spec.shape and own.role == "inform" and own.classes is None:
            return spec
        return plus(spec, self.word, **{self.name: Condition(shape=spec.shape)})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same examples with the copy."""
        layout = examples.layout or Layout()
        clean = layout.zero(examples.x)
        copy = examples.cond.get(self.name, clean)
        changed = layout.zero(self.changed(copy, clean, layout, generator))
        return Examples(examples.x, {**examples.cond, self.name: changed})

    @abstractmethod
    def changed(self, copy: Tensor, clean: Tensor, layout: Layout, generator: torch.Generator) -> Tensor:
        """What is made of ``copy`` ``(n, samples)``.

        Args:
            copy: what there is.
            clean: the recordings, silent in padding.
            layout: of them.
            generator: of everything drawn.
        """


class AddNoise(_Degraded):
    r"""Adds coloured noise at a signal-to-noise ratio drawn for every row.

    The power of the noise falls with frequency as :math:`f^{-c}`, c drawn uniformly between the two colours:
    0 is white, 1 pink, 2 brown.

    Args:
        snr: lowest and highest ratio in dB, of the powers over what is real.
        colour: lowest and highest c.
        name: of the copy.
    """

    word = "add-noise"

    def __init__(
        self,
        snr: tuple[float, float] = (0.0, 15.0),
        colour: tuple[float, float] = (0.0, 2.0),
        name: str = "degraded",
    ) -> None:
        super().__init__(name)
        if snr[0] > snr[1] or colour[0] > colour[1]:
            raise ValueError(f"snr and colour are (lowest, highest), got {snr} and {colour}")
        self.snr, self.colour = snr, colour

    def changed(self, copy: Tensor, clean: Tensor, layout: Layout, generator: torch.Generator) -> Tensor:
        """With noise."""
        n, samples = copy.shape
        noise = torch.randn(n, samples, generator=generator)
        low, high = self.colour
        colour = low + (high - low) * torch.rand(n, 1, generator=generator)
        ratio = self.snr[0] + (self.snr[1] - self.snr[0]) * torch.rand(n, 1, generator=generator)
        spectrum = torch.fft.rfft(noise)
        steps = torch.arange(spectrum.shape[1]).clamp_min(1)
        shaped = layout.zero(torch.fft.irfft(spectrum * steps ** (-colour / 2), samples))
        return copy + shaped * gain(copy, shaped, ratio)


class Reverberate(_Degraded):
    """Adds the echo of a room: decaying noise, whose length is drawn for every row (Polack 1988).

    Args:
        seconds: shortest and longest time in which the echo falls by 60 dB.
        rate: samples a second.
        wet: lowest and highest energy of the echo over that of the direct sound.
        name: of the copy.
    """

    word = "reverberate"

    def __init__(
        self,
        seconds: tuple[float, float] = (0.1, 0.5),
        rate: int = 8000,
        wet: tuple[float, float] = (0.1, 1.0),
        name: str = "degraded",
    ) -> None:
        super().__init__(name)
        if not 0 < seconds[0] <= seconds[1] < math.inf or not 0 <= wet[0] <= wet[1] < math.inf:
            raise ValueError(f"seconds and wet are (lowest, highest) and positive, got {seconds} and {wet}")
        if rate < 1 or round(seconds[0] * rate) <= rate // _DIRECT:
            raise ValueError(
                f"nothing returns within the first {1000 // _DIRECT} ms, so that {seconds[0]:g} seconds at "
                f"{rate} Hz leave no echo"
            )
        self.seconds, self.rate, self.wet = seconds, rate, wet

    def spec(self, spec: Spec) -> Spec:
        """With the copy."""
        rate_of(spec, self.rate, "view reverberate")
        return super().spec(spec)

    def changed(self, copy: Tensor, clean: Tensor, layout: Layout, generator: torch.Generator) -> Tensor:
        """Convolved."""
        n, samples = copy.shape
        length = round(self.seconds[1] * self.rate)
        fall = self.seconds[0] + (self.seconds[1] - self.seconds[0]) * torch.rand(n, 1, generator=generator)
        wet = self.wet[0] + (self.wet[1] - self.wet[0]) * torch.rand(n, 1, generator=generator)
        time = torch.arange(length) / self.rate
        tail = torch.randn(n, length, generator=generator) * 10 ** (-3 * time / fall)
        tail[:, : self.rate // _DIRECT] = 0
        tail = tail * (wet / tail.square().sum(1, keepdim=True).clamp_min(1e-12)).sqrt()
        tail[:, 0] = 1
        size = samples + length
        wide = copy if copy.dtype == torch.float64 else copy.float()  # half precision has no spectra
        echoing = torch.fft.irfft(torch.fft.rfft(wide, size) * torch.fft.rfft(tail, size), size)
        return echoing[:, :samples].to(copy.dtype)


def gain(signal: Tensor, noise: Tensor, ratio: Tensor) -> Tensor:
    """What to multiply ``noise`` with so that ``signal`` is ``ratio`` dB above it, ``(n, 1)``."""
    powers = signal.square().sum(1, keepdim=True) / noise.square().sum(1, keepdim=True).clamp_min(1e-12)
    return (powers / 10 ** (ratio / 10)).sqrt()
