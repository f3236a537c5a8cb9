"""Wavelet bands of waveforms, made one after another: the multi-band variant of PeriodWave (2408.07547)."""

from flowloom_audio.bands.codec import WaveletBands
from flowloom_audio.bands.model import PeriodWaveBands
from flowloom_audio.bands.path import InTurn

__all__ = ["InTurn", "PeriodWaveBands", "WaveletBands"]
