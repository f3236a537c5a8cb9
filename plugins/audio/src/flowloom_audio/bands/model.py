"""An estimator of its own for every wavelet band."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.state import State, Time
from flowloom_audio.bands.path import turn
from flowloom_audio.models.periodwave import PeriodWave

__all__ = ["PeriodWaveBands"]


class PeriodWaveBands(nn.Module):
    """Velocities of wavelet bands, the lowest first (2408.07547, the multi-band variant).

    Every band has a `PeriodWave` of its own, which is told the frames and the bands below, that are data by
    then: the path is `InTurn`. Only the estimator whose turn it is works, so that a step of training asks
    each for its share of the rows, and an evaluation of sampling one of them.

    Args:
        spec: of the states, bands ``(bands, samples)``, with the frames as a condition; injected.
        mel: name of the condition of frames ``(frames, channels)``.
        periods: at which every band is folded.
        width: of every estimator.
        stages: of every estimator.
        stride: of a stage.
        blocks: residual blocks a stage.
        mel_width: channels of the frames inside.
        mel_depth: ConvNeXt blocks of the frames.
        freeu: factors of skipped and of upsampled features when sampling; None for none.

    Raises:
        IncompatibleError: the states are no bands, or lack the frames.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        mel: str = "mel",
        periods: Sequence[int] = (1, 2, 3, 5, 7),
        width: int = 32,
        stages: int = 2,
        stride: int = 4,
        blocks: int = 2,
        mel_width: int = 128,
        mel_depth: int = 4,
        freeu: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2:
            raise IncompatibleError(
                f"periodwave-bands reads bands (bands, samples), not {spec.event_shape()}; "
                "waveforms become bands by codec: wavelet-bands"
            )
        bands, samples = spec.shape
        self.mel = mel
        self.each = nn.ModuleList()
        for band in range(bands):
            below = {"below": Condition(shape=(band, samples))} if band else {}
            self.each.append(
                PeriodWave(
                    Spec((samples,), conditions={**spec.conditions, **below}),
                    mel,
                    periods,
                    width,
                    stages,
                    stride,
                    blocks,
                    mel_width,
                    mel_depth,
                    freeu,
                    beside="below" if band else None,
                )
            )
        self.ignored = self.each[0].ignored

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Bands ``(batch, bands, samples)`` and times ``(batch,)`` to velocities of the same shape."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        velocity = torch.zeros_like(x)
        whose, over = turn(t, x.shape[1])
        for band, estimator in enumerate(self.each):
            rows = (whose == band).nonzero()[:, 0]
            if not len(rows):
                continue
            told = {name: value[rows] for name, value in cond.items()}
            if band:
                told["below"] = x[rows, :band]
            found = x.shape[1] * estimator(x[rows, band], over[rows], **told)
            velocity = velocity.index_put((rows, torch.full_like(rows, band)), found.to(velocity))
        return velocity
