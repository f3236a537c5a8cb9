"""Chains of frames of a known law: near the frame before, and of two modes."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.drawn import Drawn
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["FrameChain"]


class FrameChain(Drawn):
    r"""Frames ``(frames, bands)`` that continue the one before, with a jump to one of two sides.

    .. math:: y_i = 0.95\, y_{i-1} + 0.2 \tanh(W y_{i-1}) + s_i u_c + 0.05\, n_i, \qquad s_i = \pm 1

    with :math:`n_i` normal, a fair sign for every frame, and for each of three kinds c a jump :math:`u_c` of
    length 1.5 that is smooth over the bands. W is a random rotation. Frames are divided by one number, so
    that over all of them the mean square of a band is 1. What speech has of this is that frames continue, and
    that there is more than one way to; nothing need be downloaded, and the law is known.

    Args:
        bands: of a frame.
        frames: of a chain; 50 further ones come before the first, so that it is as all others.
        n: chains in every split.
        seed: of the chains; the law itself has no seed.
    """

    def __init__(self, bands: int = 8, frames: int = 24, n: int = 4000, seed: int = 0) -> None:
        super().__init__(n, seed)
        if bands < 2 or frames < 2:
            raise DataError(f"bands and frames count from 2, got {bands} and {frames}")
        self.bands, self.frames = bands, frames
        draws = torch.Generator().manual_seed(0)
        self.turn = torch.linalg.qr(torch.randn(bands, bands, generator=draws)).Q
        place = torch.linspace(0, 1, bands)
        waves = torch.stack([(torch.pi * (k + 1) * place + k).cos() for k in range(3)])
        self.jumps = 1.5 * waves / waves.norm(dim=1, keepdim=True)
        self.scale = 1.0
        self.scale = float(self._drawn_chains(1000, draws)[0].square().mean().sqrt())

    @property
    def spec(self) -> Spec:
        """Frames, and their kind."""
        return Spec((self.frames, self.bands), conditions={"kind": Condition(3)})

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Chains."""
        y, kind = self._drawn_chains(n, generator)
        return Examples(y / self.scale, {"kind": kind})

    def _drawn_chains(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Chains before they are divided, and their kinds."""
        kind = torch.randint(3, (n,), generator=generator)
        y, kept = torch.zeros(n, self.bands), []
        for i in range(50 + self.frames):
            side = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
            noise = torch.randn(n, self.bands, generator=generator)
            y = self.mean(y) + side * self.jumps[kind] + 0.05 * noise
            if i >= 50:
                kept.append(y)
        return torch.stack(kept, 1), kind

    def mean(self, before: Tensor) -> Tensor:
        """The mean of frames ``(n, bands)`` after those, both before they are divided."""
        return 0.95 * before + 0.2 * torch.tanh(before @ self.turn.T)
