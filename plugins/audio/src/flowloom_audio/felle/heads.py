"""Small networks that draw one frame, given what a language model says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models import TimeEmbedding

__all__ = ["LEVELS", "FrameHead", "Level", "Levels"]

Levels = Literal["coarse-to-fine", "whole", "decoupled"]
_EVEN, _ODD, _ALL = slice(0, None, 2), slice(1, None, 2), slice(None)


@dataclass(frozen=True)
class Level:
    """Bands of a frame that are drawn together.

    Args:
        bands: which.
        told: bands drawn before, that are told; None for none.
    """

    bands: slice
    told: slice | None = None

    def sizes(self, bands: int) -> tuple[int, int]:
        """Numbers of bands drawn and told, of so many in a frame."""
        every = range(bands)
        return len(every[self.bands]), 0 if self.told is None else len(every[self.told])


LEVELS: dict[Levels, tuple[Level, ...]] = {
    "coarse-to-fine": (Level(_EVEN), Level(_ODD, told=_EVEN)),
    "whole": (Level(_ALL),),
    "decoupled": (Level(_EVEN), Level(_ODD)),
}
r"""Coarse to fine: :math:`x_c = \mathrm{Down}(x)` are the even bands, and the fine part is the residual
:math:`x - \mathrm{Up}(x_c)`. With zeros put between the coarse bands by Up, that residual is 0 at even bands
and x at odd ones, so that drawing the odd bands draws it. The other two are the paper's baselines."""


class _Residual(nn.Module):
    """LayerNorm, and two layers with SiLU between them, beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = (
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Vectors ``(*points, width)`` steered by as many."""
        answer: Tensor = x + self.second(F.silu(self.first(self.norm(x) + context)))
        return answer


class FrameHead(nn.Module):
    """Velocities of the bands of one level, frame by frame: residual layers steered by their context.

    Args:
        bands: numbers that move.
        told: numbers of the coarser levels; 0 for none.
        context: size of what the language model says.
        width: of the layers.
        depth: residual blocks.
    """

    def __init__(self, bands: int, told: int, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.enter, self.time = nn.Linear(bands, width), TimeEmbedding(width)
        self.context = nn.Linear(context, width)
        self.told = nn.Sequential(nn.Linear(told, width), nn.SiLU()) if told else None
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, bands)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, z: Tensor, told: Tensor | None = None) -> Tensor:
        """Velocities in the shape of ``x``.

        Args:
            x: bands ``(*points, bands)``.
            t: times ``(*points)``.
            z: contexts ``(*points, context)``.
            told: coarser bands ``(*points, told)``, of a head that is told any.
        """
        steer = self.time(t) + self.context(z)
        if self.told is not None:
            assert told is not None
            steer = steer + self.told(told)
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = block(hidden, steer)
        answer: Tensor = self.out(self.norm(hidden))
        return answer
