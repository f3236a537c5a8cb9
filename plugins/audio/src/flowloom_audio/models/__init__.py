"""Networks of speech."""

from flowloom_audio.models.length import LengthPredictor
from flowloom_audio.models.periodwave import PeriodWave
from flowloom_audio.models.speech import SpeechTransformer

__all__ = ["LengthPredictor", "PeriodWave", "SpeechTransformer"]
