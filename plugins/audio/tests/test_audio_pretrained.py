"""Codecs of transformers, small and random."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.codecs import PretrainedCodec

SPEC = Spec((1280,), conditions={"mask": Condition(shape=(1280,), role="real")})
CODECS = {
    "encodec": {
        "model_type": "encodec",
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 16,
        "codebook_size": 16,
        "upsampling_ratios": [4, 4],
        "num_lstm_layers": 1,
        "target_bandwidths": [24.0],
        "sampling_rate": 8000,
    },
    "dac": {
        "model_type": "dac",
        "encoder_hidden_size": 8,
        "decoder_hidden_size": 32,
        "downsampling_ratios": [4, 4],
        "upsampling_ratios": [4, 4],
        "n_codebooks": 3,
        "codebook_size": 16,
        "codebook_dim": 4,
        "sampling_rate": 8000,
    },
    "mimi": {
        "model_type": "mimi",
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "codebook_size": 16,
        "num_quantizers": 4,
        "num_semantic_quantizers": 1,
        "upsampling_ratios": [4, 4],
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 16,
        "upsample_groups": 16,
        "sampling_rate": 8000,
        "frame_rate": 250.0,
    },
}


@pytest.mark.parametrize("kind", CODECS)
def test_waveforms_become_tokens_and_waveforms_again(kind):
    torch.manual_seed(0)
    codec = PretrainedCodec(SPEC, config=CODECS[kind], codebooks=2)
    lengths = torch.tensor([1280, 640, 33])
    examples = Examples(torch.randn(3, 1280), {"mask": torch.arange(1280) < lengths[:, None]})
    states = codec.encode(examples)
    frames = codec.spec.shape[0]
    assert states.x.shape == (3, frames, 2)
    assert states.x.dtype == torch.int64
    assert 0 <= int(states.x.min()) <= int(states.x.max()) < 16
    assert states.cond["mask"].shape == (3, frames)
    assert states.cond["mask"].sum(1).tolist()[:2] == [frames, frames // 2]
    assert torch.equal(codec.encode(examples.take(torch.tensor([1]))).x[0], states.x[1])
    back = codec.decode(states)
    assert back.x.shape == (3, 1280)
    assert bool((back.x[~back.cond["mask"]] == 0).all())
    assert not any(p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("kind", CODECS)
def test_prompts_become_tokens_too(kind):
    conditions = {**SPEC.conditions, "prompt": Condition(shape=(640,))}
    torch.manual_seed(0)
    codec = PretrainedCodec(Spec((1280,), conditions=conditions), config=CODECS[kind], codebooks=2)
    prompt = torch.randn(2, 640)
    told = codec.encode_conditions({"prompt": prompt})["prompt"]
    assert codec.spec.conditions["prompt"] == Condition(16, tuple(told.shape[1:]))
    short = PretrainedCodec(Spec((640,)), config=CODECS[kind], codebooks=2)
    short.body = codec.body
    assert torch.equal(told, short.encode(Examples(prompt)).x)


def test_weights_come_from_a_folder(tmp_path):
    codec = PretrainedCodec(SPEC, config=CODECS["dac"])
    codec.body.save_pretrained(tmp_path)
    other = PretrainedCodec(SPEC, pretrained=str(tmp_path))
    wave = Examples(torch.randn(1, 1280), {"mask": torch.ones(1, 1280, dtype=torch.bool)})
    assert torch.equal(codec.encode(wave).x, other.encode(wave).x)
    with pytest.raises(IncompatibleError, match="takes either"):
        PretrainedCodec(SPEC)
    with pytest.raises(IncompatibleError, match="1 to 3 codebooks, not 9"):
        PretrainedCodec(SPEC, config=CODECS["dac"], codebooks=9)
    with pytest.raises(IncompatibleError, match="for waveforms"):
        PretrainedCodec(Spec((3, 4)), config=CODECS["dac"])


def test_a_codec_of_another_rate_is_refused():
    from dataclasses import replace

    with pytest.raises(IncompatibleError, match="sound of 8000 Hz, and the data have 16000"):
        PretrainedCodec(replace(SPEC, rate=16_000), config=CODECS["dac"])
