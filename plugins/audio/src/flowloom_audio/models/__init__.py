"""Networks of speech."""

from flowloom_audio.models.length import LengthPredictor
from flowloom_audio.models.periodwave import PeriodWave
from flowloom_audio.models.spectral import SpectralVocoder
from flowloom_audio.models.speech import SpeechTransformer
from flowloom_audio.models.voicebox import Voicebox

__all__ = ["LengthPredictor", "PeriodWave", "SpectralVocoder", "SpeechTransformer", "Voicebox"]
