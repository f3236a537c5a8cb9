"""What recordings are made into before they are learned: noisy, reverberant, cut, known in spans."""

from flowloom_audio.views.degrade import AddNoise, Reverberate
from flowloom_audio.views.frames import MelBeside, Piece
from flowloom_audio.views.jobs import FrontEnd
from flowloom_audio.views.spans import KnownSpans
from flowloom_audio.views.states import SoundFrames

__all__ = ["AddNoise", "FrontEnd", "KnownSpans", "MelBeside", "Piece", "Reverberate", "SoundFrames"]
