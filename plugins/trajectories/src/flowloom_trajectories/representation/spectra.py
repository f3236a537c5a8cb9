"""Whether generated windows have the rhythm of their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric

__all__ = ["Spectra"]


class Spectra(Metric):
    r"""Distance of mean amplitude spectra, of samples and of real windows, class by class.

    With :math:`S_c` the mean over windows of class c of the amplitudes of their Fourier transforms along
    time, channel by channel (frequency 0, which is how the device sits, included):

    .. math:: \frac1C \sum_c |S_c(\text{samples}) - S_c(\text{real})| / |S_c(\text{real})|

    A sample's class is that of the row that was asked. Phases do not count.

    Args:
        label: class condition of the rows.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"spectrum_distance": "lower"}
    about: ClassVar[Mapping[str, str]] = {
        "spectrum_distance": "relative distance of mean amplitude spectra, over the classes of the rows asked"
    }
    paired: ClassVar[bool] = True

    def __init__(self, label: str = "activity") -> None:
        self.label = label

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare class by class."""
        self.require_rows(samples, real)
        label = real.cond.get(self.label)
        if label is None:
            raise IncompatibleError(
                f"spectra are compared by class, and there is no condition '{self.label}'"
            )
        drawn, came = _amplitudes(samples), _amplitudes(real)
        drawn = drawn.reshape(-1, *came.shape).mean(0)  # over the draws of a row, where there are several
        found = []
        for one in label.unique():
            rows = label == one
            wanted = came[rows].mean(0)
            found.append((drawn[rows].mean(0) - wanted).norm() / wanted.norm().clamp_min(1e-12))
        return {"spectrum_distance": float(torch.stack(found).mean())}


def _amplitudes(examples: Examples) -> Tensor:
    x = examples.x
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise IncompatibleError("spectra are of windows (steps, channels)")
    real = x if examples.layout is None else examples.layout.zero(x)
    return torch.fft.rfft(real.double(), dim=1).abs().flatten(1) / x.shape[1]
