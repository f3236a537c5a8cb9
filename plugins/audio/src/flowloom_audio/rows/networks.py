"""Networks, sources and objectives of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "model",
        "speech-transformer",
        "flowloom_audio.models:SpeechTransformer",
        summary="frames with text spread over them, voices before them, recordings beside them",
        paper="2506.13053",
        example={"width": 16, "depth": 1, "heads": 2, "ignore": ["speaker"]},
        within="toy-speech",
    )
    reg.add(
        "model",
        "voicebox",
        "flowloom_audio.models:Voicebox",
        summary="frames and those beside them through a transformer with long skips",
        paper="2306.15687",
        example={"width": 16, "depth": 2, "heads": 2, "groups": 4, "ignore": ["speaker", "text", "prompt"]},
        within="uniflow-toy",
    )
    reg.add(
        "model",
        "periodwave",
        "flowloom_audio.models:PeriodWave",
        summary="waveforms folded at several periods, given log-mel frames: a vocoder",
        paper="2408.07547",
        example={"width": 8, "stages": 2, "blocks": 1, "mel_width": 16, "mel_depth": 1, "periods": [1, 2, 3]},
        within="toy-vocoder",
        tags=("heavy",),
    )
    reg.add(
        "model",
        "spectral-vocoder",
        "flowloom_audio.models:SpectralVocoder",
        summary="the spectrum of a waveform frame by frame, given log-mel frames: a fast vocoder",
        paper="2306.00814",
        example={"width": 16, "depth": 1},
        within="toy-vocoder",
        tags=("heavy",),
    )
    reg.add(
        "model",
        "periodwave-bands",
        "flowloom_audio.bands:PeriodWaveBands",
        summary="wavelet bands one after another, each by a periodwave that is told those below",
        paper="2408.07547",
        example={"width": 4, "stages": 1, "blocks": 1, "mel_width": 8, "mel_depth": 1, "periods": [1, 2, 3]},
        within="periodwave-bands",
        tags=("heavy",),
    )
    reg.add(
        "path",
        "in-turn",
        "flowloom_audio.bands:InTurn",
        summary="entries of the first dimension move one after another, as bands of a waveform",
        paper="2408.07547",
        within="periodwave-bands",
        tags=("heavy",),
    )
    reg.add(
        "source",
        "frame-energy",
        "flowloom_audio.sources:FrameEnergy",
        summary="noise as loud as the log-mel frames that are given",
        paper="2106.06406",
        within="toy-vocoder",
        tags=("heavy",),
    )
    reg.add(
        "codec",
        "pre-emphasis",
        "flowloom_audio.emphasis:PreEmphasis",
        summary="differences of neighbouring samples, of unit deviation: all frequencies of speech as loud",
        paper="1810.11846",
        within="toy-vocoder",
    )
    reg.add(
        "objective",
        "speech",
        "flowloom_audio.objective:SpeechMatching",
        summary="flow matching of frames, and the length of an utterance given text and voice",
        known_failures={"check_exact_answers_have_no_loss": "the length is learned as well, and never exact"},
        example={"ignore": ["speaker"]},
        within="toy-speech",
        tags=("heavy",),
    )
