"""Recordings, views of them and codecs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_audio.data"
    reg.add(
        "dataset",
        "spoken-digits",
        f"{home}:SpokenDigits",
        summary="the Free Spoken Digit Dataset: digits, alone or joined, with text, speaker and prompt",
        tags=("files",),
    )
    reg.add(
        "dataset",
        "audio-folder",
        f"{home}:AudioFolder",
        summary="WAV, FLAC or OGG files with transcripts: plain, LJSpeech, LibriTTS or VCTK",
        example={"folder": "recordings"},
        tags=("files",),
    )
    reg.add(
        "dataset",
        "toy-speech",
        f"{home}:ToySpeech",
        summary="words from a source-filter synthesiser, for tests and demonstrations",
        example={"prompt": 0.128},
        tags=("heavy",),
    )
    views = "flowloom_audio.views"
    reg.add(
        "view",
        "add-noise",
        f"{views}:AddNoise",
        summary="a copy in coloured noise, at a ratio drawn for every row",
        data="toy-speech",
    )
    reg.add(
        "view",
        "reverberate",
        f"{views}:Reverberate",
        summary="a copy in a room, whose echo is drawn for every row",
        data="toy-speech",
    )
    reg.add(
        "view",
        "front-end",
        f"{views}:FrontEnd",
        summary="a degraded copy of a job drawn for every row: enhance, dereverberate, extract",
        example={"jobs": ["enhance", "dereverberate"]},
        data="toy-speech",
    )
    reg.add(
        "view",
        "known-spans",
        f"{views}:KnownSpans",
        summary="a copy of which long spans are hidden: generative pre-training",
        paper="2310.16338",
        data="toy-speech",
    )
    reg.add(
        "view",
        "sound-piece",
        f"{views}:Piece",
        summary="a piece of every recording",
        example={"samples": 1024},
        data="toy-speech",
    )
    reg.add(
        "view",
        "sound-frames",
        f"{views}:SoundFrames",
        summary="log-mel frames in place of recordings, so that a flow is judged where it lives",
        data="toy-speech",
    )
    reg.add(
        "view",
        "mel-beside",
        f"{views}:MelBeside",
        summary="log-mel frames beside every recording, for a vocoder",
        data="toy-speech",
    )
    reg.add(
        "codec",
        "log-mel",
        "flowloom_audio.codecs:LogMel",
        summary="waveforms as log-mel frames, back by Griffin-Lim",
        example={"iterations": 8},
        data="toy-speech",
        known_failures={"check_round_trip": "phases are not kept, and Griffin-Lim finds others"},
    )
    reg.add(
        "codec",
        "wavelet-bands",
        "flowloom_audio.bands:WaveletBands",
        summary="waveforms as Haar wavelet bands of unit deviation; nothing is lost",
        paper="2408.07547",
        example={"levels": 1},
        data="eight-gaussians",
    )

    dac = {
        "model_type": "dac",
        "sampling_rate": 8000,
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 16,
        "n_codebooks": 2,
    }
    small = {
        "downsampling_ratios": [4, 4],
        "upsampling_ratios": [4, 4],
        "codebook_size": 8,
        "codebook_dim": 4,
    }
    reg.add(
        "codec",
        "pretrained-audio",
        "flowloom_audio.codecs:PretrainedCodec",
        summary="waveforms as tokens of EnCodec, DAC or Mimi, from the transformers library",
        example={"config": {**dac, **small}},
        data="toy-speech",
        tags=("heavy",),
        known_failures={
            "check_round_trip": "tokens keep what the codec was trained to keep",
            "check_fit_is_deterministic": "the example has random weights, others in every codec",
        },
    )
