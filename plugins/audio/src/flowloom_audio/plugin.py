"""The rows of the audio plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

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


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add recordings, log-mel, networks, judges, tasks and recipes of speech."""
    _data(reg)
    _networks(reg)
    _judges(reg)
    _recipes(reg)


def _data(reg: Registrar) -> None:
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
        known_failures={
            "check_round_trip": "tokens keep what the codec was trained to keep",
            "check_fit_is_deterministic": "the example has random weights, others in every codec",
        },
    )


def _networks(reg: Registrar) -> None:
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
        "periodwave",
        "flowloom_audio.models:PeriodWave",
        summary="waveforms folded at several periods, given log-mel frames: a vocoder",
        paper="2408.07547",
        example={"width": 8, "stages": 2, "blocks": 1, "mel_width": 16, "mel_depth": 1, "periods": [1, 2, 3]},
        within="toy-vocoder",
    )
    reg.add(
        "source",
        "frame-energy",
        "flowloom_audio.sources:FrameEnergy",
        summary="noise as loud as the log-mel frames that are given",
        paper="2106.06406",
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
    )


def _judges(reg: Registrar) -> None:
    home = "flowloom_audio.metrics"
    reg.add(
        "metric",
        "speech-judge",
        f"{home}:SpeechJudge",
        summary="words and speakers, as heard by a network trained on real recordings",
        example={"steps": 150},
        data="toy-speech",
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
    )
    reg.add(
        "task",
        "convert-voice",
        "flowloom_audio.tasks:ConvertVoice",
        summary="say what a recording says in the voice of a prompt, by inversion",
        paper="2010.02502",
        within="toy-speech",
    )


def _recipes(reg: Registrar) -> None:
    home = "flowloom_audio:recipes"
    reg.recipe("speak-digits", f"{home}/speak-digits.yaml", summary="text and a prompt to spoken digits")
    reg.recipe(
        "speechflow-digits",
        f"{home}/speechflow-digits.yaml",
        summary="generative pre-training on untranscribed digits",
    )
    reg.recipe(
        "speechflow-enhance",
        f"{home}/speechflow-enhance.yaml",
        summary="pre-trained speech, fine-tuned to enhancement",
    )
    reg.recipe("enhance-digits", f"{home}/enhance-digits.yaml", summary="noisy digits to clean ones")
    reg.recipe(
        "uniflow-digits",
        f"{home}/uniflow-digits.yaml",
        summary="enhancement, dereverberation and extraction of a voice by one network",
    )
    reg.recipe("vocode-digits", f"{home}/vocode-digits.yaml", summary="log-mel frames to waveforms")
    reg.recipe(
        "toy-vocoder", f"{home}/toy-vocoder.yaml", summary="log-mel frames of synthetic words to sound"
    )
    reg.recipe(
        "periodwave-libritts", f"{home}/periodwave-libritts.yaml", summary="PeriodWave at the paper's scale"
    )
    reg.recipe("toy-speech", f"{home}/toy-speech.yaml", summary="synthetic words, in two minutes")
