"""Whether a signal has the pitch of the truth of its row."""

from __future__ import annotations

from typing import ClassVar

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.pairs import drawn_rows
from flowloom_audio.metrics.waves import lengths_of, waves_of
from flowloom_audio.pitch import lags, pitch_of
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["PitchError"]


class PitchError(Metric):
    r"""Pitch, voicing and periodicity beside the truth, frame by frame.

    * ``pitch_rmse``: root of the mean of :math:`(1200 \log_2 f / f^\ast)^2`, in cents, over frames where the
      truth is voiced. Where the signal is not, its pitch is what the search found all the same, so that
      nobody gets out of a frame by whispering it;
    * ``voicing_f1``: of voiced frames, which are at least as periodic as ``voiced``;
    * ``periodicity_error``: root mean square over all frames.

    The three measures of vocoders (Morrison et al. 2110.10139, and PeriodWave 2408.07547), with YIN in place
    of their pretrained CREPE; see `flowloom_audio.pitch`. Frames that are not wholly real do not count.

    Args:
        rate: samples a second; the data's own where None.
        lowest: pitch that is found, in Hz.
        highest: likewise.
        voiced: least periodicity of a voiced frame.
    """

    better: ClassVar = {"pitch_rmse": "lower", "voicing_f1": "higher", "periodicity_error": "lower"}
    silent: ClassVar[str] = "no frame of the truth is voiced"
    paired: ClassVar[bool] = True

    def __init__(
        self, rate: int | None = None, lowest: float = 70.0, highest: float = 400.0, voiced: float = 0.8
    ) -> None:
        if not 0 < lowest < highest or not 0 < voiced < 1:
            raise ValueError(
                f"lowest < highest are frequencies and voiced is a share, got {lowest}, {highest}, {voiced}"
            )
        self.rate, self.lowest, self.highest, self.voiced = rate, lowest, highest, voiced

    def fit(self, train: Dataset) -> None:
        """Learn the rate."""
        require_waves(train.spec, "pitch-error")
        self._rate = rate_of(train.spec, self.rate, "pitch-error")
        try:
            lags(self._rate, self.lowest, self.highest)
        except ValueError as error:
            raise IncompatibleError(f"metric pitch-error: {error}") from error

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Over all frames of all rows and draws; a value that no frame tells is left out."""
        self.require_rows(samples, real)
        cents, hits, said, wanted, periodicity = [], 0, 0, 0, []
        for drawn in drawn_rows(samples, real):
            x, y = waves_of(drawn), waves_of(real)
            length = min(x.shape[1], y.shape[1])
            both = torch.minimum(lengths_of(drawn), lengths_of(real)).clamp_max(length)
            kept = torch.arange(length) < both[:, None]
            ours, true = (
                pitch_of(v[:, :length] * kept, both, self._rate, self.lowest, self.highest) for v in (x, y)
            )
            ours_voiced, true_voiced = ((p.periodicity >= self.voiced) & p.real for p in (ours, true))
            cents.append(1200 * (ours.frequency / true.frequency).log2()[true_voiced])
            hits += int((ours_voiced & true_voiced).sum())
            said, wanted = said + int(ours_voiced.sum()), wanted + int(true_voiced.sum())
            periodicity.append((ours.periodicity - true.periodicity)[true.real])
        found, off = torch.cat(cents), torch.cat(periodicity)
        values = {}
        if len(found):
            values = {"pitch_rmse": _root(found), "voicing_f1": 2 * hits / (said + wanted)}
        if len(off):
            values["periodicity_error"] = _root(off)
        return values


def _root(values: torch.Tensor) -> float:
    """Of the mean square."""
    return float(values.square().mean().sqrt())
