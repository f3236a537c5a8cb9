"""Encoders of self-supervised speech, small and random."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom_audio.data import ToySpeech
from flowloom_audio.metrics import SpeechFrechet

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def metric(kind="hubert", **more):
    made = SpeechFrechet(config={"model_type": kind, **SMALL}, **more)
    made.fit(ToySpeech(voices=1, takes=2))
    return made


@pytest.fixture(scope="module")
def speech():
    data = ToySpeech(voices=3, takes=4)
    return data.take(torch.arange(len(data))).laid_out(data.spec)


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2"])
def test_noise_is_further_from_speech_than_speech(kind, speech):
    judge, even = metric(kind), torch.arange(0, len(speech), 2)
    noise = Examples(0.1 * torch.randn(speech.x.shape, generator=torch.Generator().manual_seed(0)))
    near = judge(speech.take(even), speech.take(even + 1))["speech_frechet"]
    far = judge(noise, speech)["speech_frechet"]
    assert far > 3 * near > 0


def test_padding_says_nothing(speech):
    judge, row = metric(), torch.arange(1)
    one = speech.take(row)
    n = int(one.layout.real.sum())
    bare = Examples(one.x[:, :n])
    torch.testing.assert_close(judge.features(one), judge.features(bare))


def test_the_encoder_is_the_same_for_the_same_seed(speech):
    few = speech.take(torch.arange(2))
    before = torch.random.get_rng_state()
    first = metric(seed=3).features(few)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, metric(seed=3).features(few))
    assert not torch.equal(first, metric(seed=4).features(few))
    assert not torch.equal(first, metric(seed=3, layer=0).features(few))


def test_a_click_is_long_enough():
    assert metric().features(Examples(torch.ones(1, 3))).isfinite().all()


def test_what_is_no_encoder_is_refused():
    with pytest.raises(IncompatibleError, match="hubert, wavlm, wav2vec2, not bert"):
        SpeechFrechet(config={"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2})
    with pytest.raises(IncompatibleError, match="layers 0 to 2, not 3"):
        metric(layer=3)
    with pytest.raises(IncompatibleError, match="takes either pretrained"):
        SpeechFrechet()
