"""Waveforms as wavelet bands: nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import moments
from flowloom.spec import Spec

__all__ = ["WaveletBands", "merge", "split"]


def split(wave: Tensor, levels: int) -> Tensor:
    r"""Orthonormal Haar packets ``(batch, 2**levels, samples / 2**levels)``, the lowest band first.

    Every band is split into :math:`(x_{2i} + x_{2i+1}) / \sqrt 2` and :math:`(x_{2i} - x_{2i+1}) / \sqrt 2`.
    What is taken every second time from a high band runs from its top down: its halves change places.

    Args:
        wave: ``(batch, samples)``, samples a multiple of ``2**levels``.
        levels: how often to split.
    """
    if levels == 0:
        return wave[:, None]
    even, odd = wave[:, ::2], wave[:, 1::2]
    low, high = (split(half * 0.5**0.5, levels - 1) for half in (even + odd, even - odd))
    return torch.cat([low, high.flip(1)], 1)


def merge(bands: Tensor) -> Tensor:
    """Inverse of `split`: ``(batch, samples)``."""
    count = bands.shape[1]
    if count == 1:
        return bands[:, 0]
    low, high = merge(bands[:, : count // 2]), merge(bands[:, count // 2 :].flip(1))
    return torch.stack([low + high, low - high], -1).flatten(1) * 0.5**0.5


class WaveletBands(StateCodec):
    """Waveforms ``(samples,)`` as Haar wavelet bands ``(bands, samples / bands)``, each of unit deviation.

    Args:
        spec: of the data; injected from the recipe.
        levels: of the discrete wavelet transform; there are ``2**levels`` bands, four in PeriodWave.

    Raises:
        IncompatibleError: the data are no waveforms of a multiple of as many samples, all of them real.
    """

    std: Tensor

    def __init__(self, spec: Spec, levels: int = 2) -> None:
        super().__init__(spec)
        if not 1 <= levels <= 8:
            raise ValueError(f"levels lie between 1 and 8, got {levels}")
        marked = any(c.role in ("real", "given", "values") for c in spec.conditions.values())
        if (
            spec.parts
            or spec.vocab is not None
            or len(spec.shape) != 1
            or spec.shape[0] % 2**levels
            or marked
        ):
            raise IncompatibleError(
                f"codec wavelet-bands is for whole waveforms of a multiple of {2**levels} samples, not "
                f"{spec.event_shape()}{' with marks' if marked else ''}; cut pieces first (view sound-piece)"
            )
        self.levels = levels
        self.register_buffer("std", torch.ones(2**levels, 1))

    @property
    def spec(self) -> Spec:
        """Of bands."""
        bands = 2**self.levels
        return replace(self.data_spec, shape=(bands, self.data_spec.shape[0] // bands), rate=None)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Deviation of every band, over at most 1,000 rows."""
        if data is None:
            raise DataError("codec wavelet-bands measures data, and this recipe has none")
        wave = data.take(data.evenly(1000)).x
        assert isinstance(wave, Tensor)
        _, std = moments(split(wave, self.levels), None, (0, 2))
        # A band in which nothing sounds keeps its scale instead of being blown up.
        self.std = torch.where(std > 1e-6 * std.max(), std, 1.0)[:, None].to(self.std)

    def encode_state(self, x: Any) -> Tensor:
        """``split(x) / std``."""
        return split(x, self.levels) / self.std

    def decode_state(self, x: Any) -> Tensor:
        """``merge(x std)``."""
        return merge(x * self.std)

    def log_det(self, examples: Examples) -> Tensor | None:
        """``-sum log std``: the transform itself turns, and keeps volumes."""
        x = examples.x
        assert isinstance(x, Tensor)
        each = x.shape[1] // 2**self.levels
        return (-self.std.log().sum() * each).expand(len(x))
