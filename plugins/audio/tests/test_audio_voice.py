"""The voice of a speaker and the quality of speech, by packages: what they are given and what comes of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.spec import Condition, Spec
from flowloom_audio.data import ToySpeech
from flowloom_audio.metrics import SpeakerSimilarity, SpeechMOS, voice
from flowloom_audio.metrics.voice import VoiceEncoder, joined


@pytest.fixture(scope="module")
def data():
    return ToySpeech(voices=2, takes=5, prompt=0.128)


class Ear(nn.Module):
    """A stand-in: the direction of a recording is its share of high and of low frequencies."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, sound):
        self.heard.append(sound)
        power = torch.fft.rfft(sound).abs()
        edge = len(sound) * 1000 // 16_000
        return nn.functional.normalize(torch.stack([power[:edge].norm(), power[edge:].norm()]), dim=0)


@pytest.fixture
def similarity(monkeypatch):
    monkeypatch.setattr(voice, "_weights", lambda: None)

    def make(ear, **settings):
        metric = SpeakerSimilarity(**settings)
        monkeypatch.setattr(metric, "encoder", lambda: ear)
        return metric

    return make


def tones(pitches, speakers, samples=8000, real=4000):
    """Rows that are tones as long as ``real``, and rubbish after it."""
    time = torch.arange(samples) / 8000
    x = torch.stack([(2 * torch.pi * pitch * time).sin() for pitch in pitches])
    mask = torch.zeros(len(pitches), samples, dtype=torch.bool)
    mask[:, :real] = True
    x = x.masked_fill(~mask, 9.0)
    spec = Spec(
        (samples,),
        conditions={"mask": Condition(shape=(samples,), role="real"), "speaker": Condition(2)},
        rate=8000,
    )
    cond = {"mask": mask, "speaker": torch.tensor(speakers)}
    return Examples(x, cond).laid_out(spec), spec


def test_strings_are_long_enough_and_lose_nothing():
    waves = [torch.full((n,), float(i)) for i, n in enumerate((3, 3, 5, 9, 2))]
    found = joined(waves, 6)
    assert [len(one) for one in found] == [6, 16]
    assert torch.equal(torch.cat(found), torch.cat(waves))
    assert [len(one) for one in joined(waves[:1], 6)] == [3]
    assert joined([], 6) == []


def test_voices_are_compared_speaker_by_speaker_on_joined_words(similarity):
    real, spec = tones([200, 210, 3000, 3100], [0, 0, 1, 1])
    ear = Ear()
    metric = similarity(ear, seconds=1.0)
    metric.fit(SimpleNamespace(spec=spec))
    assert metric(real, real)["speaker_similarity"] == pytest.approx(1, abs=1e-3)
    # Two words of half a second each are one string of one second, at 16 kHz; padding is not heard.
    assert {len(sound) for sound in ear.heard} == {16_000}
    # One level for all, however loud the row is.
    assert {round(float(sound.square().mean().sqrt()), 3) for sound in ear.heard} == {0.032}
    swapped = Examples(real.x.flip(0), real.cond, real.layout)
    assert metric(swapped, real)["speaker_similarity"] < 0.1
    first = real.take(torch.tensor([0, 1]))
    second = real.take(torch.tensor([2, 3]))
    assert metric(first, second) == {}


def test_prompts_are_compared_with_what_was_said_after_them(similarity, data):
    few = data.take(torch.arange(4)).laid_out(data.spec)
    ear = Ear()
    metric = similarity(ear, seconds=0.2, against="prompt")
    metric.fit(data)
    assert -1 <= metric(few, few)["speaker_similarity"] <= 1
    other = Examples(few.x, {**few.cond, "prompt": few.cond["prompt"].flip(1)}, few.layout)
    assert metric(few, few) == metric(few, other)  # those of the samples, and not of the truth
    with pytest.raises(IncompatibleError, match="needs the condition 'prompt'"):
        similarity(ear, against="prompt").fit(ToySpeech(voices=2, takes=5))


def test_the_encoder_looks_at_pieces_and_knows_no_end():
    before = torch.random.get_rng_state()
    encoder = VoiceEncoder(None)
    assert torch.equal(before, torch.random.get_rng_state())
    sound = torch.randn(40_000, generator=torch.Generator().manual_seed(0))
    assert float(encoder(sound).norm()) == pytest.approx(1, abs=1e-4)
    for length in (1, 160, 25_600, 25_601, 40_000):
        assert encoder(sound[:length]).shape == (256,)


def test_the_encoder_is_that_of_the_package():
    pytest.importorskip("webrtcvad")
    resemblyzer = pytest.importorskip("resemblyzer")
    theirs, ours = resemblyzer.VoiceEncoder("cpu", verbose=False), VoiceEncoder(voice._weights())
    draws = torch.Generator().manual_seed(0)
    for length in (9_000, 30_000, 40_000, 71_234):
        sound = 0.05 * torch.randn(length, generator=draws).cumsum(0).diff(prepend=torch.zeros(1))
        wanted = torch.from_numpy(theirs.embed_utterance(sound.numpy()))
        assert float(ours(sound) @ wanted) == pytest.approx(1, abs=1e-4)


def test_quality_is_asked_of_whole_recordings_at_16_khz(monkeypatch, data):
    heard = []
    module = ModuleType("speechmos.dnsmos")

    def run(sound, rate):
        heard.append((sound, rate))
        return {"ovrl_mos": 3.0, "sig_mos": 2.0, "bak_mos": float(len(heard)), "p808_mos": 1.0}

    module.run = run
    monkeypatch.setitem(sys.modules, "speechmos", ModuleType("speechmos"))
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", module)
    metric = SpeechMOS(rows=2)
    metric.fit(data)
    few = data.take(torch.arange(4)).laid_out(data.spec)
    loud = Examples(100 * few.x, few.cond, few.layout)
    assert metric(loud, few) == {"dnsmos": 3.0, "dnsmos_signal": 2.0, "dnsmos_background": 1.5}
    sizes = few.cond["mask"].sum(1)[few.evenly(2)].tolist()
    for (sound, rate), n in zip(heard, sizes, strict=True):
        assert rate == 16_000
        # Repeated to the nine seconds that are looked at, and no more: each further one would be looked at.
        assert len(sound) == 144_160
        assert not np.array_equal(sound[: n - 9], sound[9:n])
        turn = next(k for k in (2 * n - 1, 2 * n, 2 * n + 1) if np.array_equal(sound[:k], sound[k : 2 * k]))
        assert np.array_equal(sound[turn:], sound[:-turn])
        assert abs(sound).max() <= 1
    # Nothing at all is silence: the package would repeat it for ever.
    empty = Examples(few.x, {**few.cond, "mask": torch.zeros_like(few.cond["mask"])}).laid_out(data.spec)
    heard.clear()
    metric(empty, few)
    assert all(len(sound) == 144_160 and not sound.any() for sound, _ in heard)


def test_quality_falls_with_noise(data):
    for name in ("speechmos", "librosa", "requests", "onnxruntime"):
        pytest.importorskip(name)
    metric = SpeechMOS(rows=1)
    metric.fit(data)
    few = data.take(torch.arange(1)).laid_out(data.spec)
    noise = torch.randn(few.x.shape, generator=torch.Generator().manual_seed(0))
    assert metric(Examples(noise, few.cond, few.layout), few)["dnsmos"] < 2


def test_without_their_packages_they_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", None)
    with pytest.raises(MissingDependencyError, match="needs the package speechmos; pip install"):
        SpeechMOS()
    monkeypatch.setattr(voice, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install --no-deps resemblyzer"):
        SpeakerSimilarity()
