"""DiFlow-TTS (2509.09631): discrete flow matching of factorised speech tokens."""

from flowloom_audio.diflow.denoiser import FactorisedDenoiser
from flowloom_audio.diflow.mapper import PhonemeContentMapper
from flowloom_audio.diflow.metric import StreamsJudge
from flowloom_audio.diflow.objective import FactorisedFlow
from flowloom_audio.diflow.renderer import StreamPictures
from flowloom_audio.diflow.solver import TokenByToken
from flowloom_audio.diflow.toy import FactorisedTokens

__all__ = [
    "FactorisedDenoiser",
    "FactorisedFlow",
    "FactorisedTokens",
    "PhonemeContentMapper",
    "StreamPictures",
    "StreamsJudge",
    "TokenByToken",
]
