"""Recordings of speech."""

from flowloom_audio.data.recordings import Recordings
from flowloom_audio.data.sets import AudioFolder, SpokenDigits
from flowloom_audio.data.toy import ToySpeech

__all__ = ["AudioFolder", "Recordings", "SpokenDigits", "ToySpeech"]
