"""Waveforms as log-mel spectrograms or tokens, and back."""

from flowloom_audio.codecs.learned import LearnedSound
from flowloom_audio.codecs.log_mel import LogMel
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.codecs.pretrained import PretrainedCodec

__all__ = ["LearnedSound", "LogMel", "Mel", "PretrainedCodec"]
