"""What is asked of a trained flow of speech."""

from flowloom_audio.tasks.clone import Clone
from flowloom_audio.tasks.convert import ConvertVoice
from flowloom_audio.tasks.recording import FromRecording, Vocode
from flowloom_audio.tasks.synthesise import Synthesise

__all__ = ["Clone", "ConvertVoice", "FromRecording", "Synthesise", "Vocode"]
