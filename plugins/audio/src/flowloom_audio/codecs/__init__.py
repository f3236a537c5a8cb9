"""Waveforms as log-mel spectrograms and back."""

from flowloom_audio.codecs.log_mel import LogMel, Mel

__all__ = ["LogMel", "Mel"]
