"""FELLE: a language model of continuous frames, each of them drawn by flow matching (2502.11128)."""

from flowloom_audio.felle.chain import FrameChain
from flowloom_audio.felle.field import NextFrame
from flowloom_audio.felle.increments import Increments
from flowloom_audio.felle.model import FrameLanguageModel
from flowloom_audio.felle.objective import FrameMatching
from flowloom_audio.felle.pace import Pace
from flowloom_audio.felle.renderer import FramePictures
from flowloom_audio.felle.solver import FrameByFrame

__all__ = [
    "FrameByFrame",
    "FrameChain",
    "FrameLanguageModel",
    "FrameMatching",
    "FramePictures",
    "Increments",
    "NextFrame",
    "Pace",
]
