"""Waveforms in fewer numbers, learned here: an autoencoder, a residual quantiser, and their loss."""

from flowloom_audio.coders.autoencoder import WaveAutoencoder
from flowloom_audio.coders.base import Coded, WaveCoder
from flowloom_audio.coders.objective import SoundCoding
from flowloom_audio.coders.quantised import WaveQuantiser
from flowloom_audio.coders.residual import ResidualQuantiser

__all__ = ["Coded", "ResidualQuantiser", "SoundCoding", "WaveAutoencoder", "WaveCoder", "WaveQuantiser"]
