"""How long an utterance is, said before it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import withheld
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_audio.models.reading import TextEncoder, VoiceEncoder, heard, symbols_in

__all__ = ["LengthPredictor"]


class LengthPredictor(nn.Module):
    r"""A normal law of the logarithm of the number of frames, given text and voices.

    Every symbol has a length, which adds up; text and voice together say by how much all of them are longer
    and how sure that is: :math:`\log F \sim N(\log \sum_i e^{d_i} + a, s^2)`.

    Args:
        spec: of the states, frames ``(frames, bands)``.
        width: of the hidden layers.
        ignore: conditions that it is not told.
    """

    def __init__(self, spec: Spec, width: int = 64, ignore: Sequence[str] = ()) -> None:
        super().__init__()
        self.spec, self.told = spec, heard(spec, ignore, (), "the length predictor")
        self.texts = nn.ModuleDict(
            {module_name(n): TextEncoder(spec.conditions[n].classes or 1, width, 2) for n in self.told.texts}
        )
        self.each = nn.Linear(width, 1)
        self.voices = nn.ModuleDict(
            {module_name(n): VoiceEncoder(spec.shape[1], width) for n in self.told.voices}
        )
        self.silent = nn.Parameter(torch.tensor(math.log(max(1, spec.shape[0]) / 2)))
        last = nn.Linear(width, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.law = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)

    def forward(self, cond: Cond, n: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the logarithm of the frames of ``n`` rows, ``(n,)`` each."""
        device = self.silent.device
        total = torch.zeros(n, device=device)
        context = torch.zeros(n, self.each.in_features, device=device)
        said = torch.zeros(n, dtype=torch.bool, device=device)
        for name in self.told.texts:
            ids = cond.get(name)
            if ids is None:
                continue
            hidden = self.texts[module_name(name)](ids)
            real = torch.arange(ids.shape[1], device=device) < symbols_in(ids)[:, None]
            shown = torch.ones_like(said) if (rows := withheld(cond, name)) is None else ~rows
            # Four frames a symbol is where speech at 60 frames a second begins.
            lengths = (self.each(hidden)[..., 0] + math.log(4.0)).clamp(-4, 6).exp()
            total = total + (lengths * real).sum(1) * shown
            context = context + (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True) * shown[:, None]
            said = said | shown
        for name in self.told.voices:
            context = (
                context
                + self.voices[module_name(name)](cond, name, n, self.spec.conditions[name].shape[0])[1]
            )
        longer, unsure = self.law(context).unbind(-1)
        base = torch.where(said, total.clamp_min(1e-3).log(), self.silent)
        return base + longer, 0.3 * F.softplus(unsure + 0.54) + 0.02

    def nll(self, cond: Cond, frames: Tensor) -> Tensor:
        """Negative log density of ``log frames``, ``(n,)``."""
        mean, std = self(cond, len(frames))
        return 0.5 * ((frames.clamp_min(1).log() - mean) / std).square() + std.log()

    def draw(self, cond: Cond, n: int, spread: float, generator: torch.Generator | None) -> Tensor:
        """Numbers of frames, int64 ``(n,)``, in [1, the most there is room for]."""
        mean, std = self(cond, n)
        noise = torch.randn(n, generator=generator, device=mean.device)
        return (mean + spread * std * noise).exp().round().long().clamp(1, self.spec.shape[0])
