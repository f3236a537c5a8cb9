"""Judges of speech."""

from flowloom_audio.metrics.distances import LogMelFrechet, SpectralDistance
from flowloom_audio.metrics.paired import ShortTimeIntelligibility, SignalRatio, SpeechQuality
from flowloom_audio.metrics.pitch import PitchError
from flowloom_audio.metrics.quality import SpeechMOS
from flowloom_audio.metrics.recogniser import SpeechJudge
from flowloom_audio.metrics.self_supervised import SpeechFrechet
from flowloom_audio.metrics.sphinx import Sphinx
from flowloom_audio.metrics.voice import SpeakerSimilarity
from flowloom_audio.metrics.whisper import Whisper

__all__ = [
    "LogMelFrechet",
    "PitchError",
    "ShortTimeIntelligibility",
    "SignalRatio",
    "SpeakerSimilarity",
    "SpectralDistance",
    "SpeechFrechet",
    "SpeechJudge",
    "SpeechMOS",
    "SpeechQuality",
    "Sphinx",
    "Whisper",
]
