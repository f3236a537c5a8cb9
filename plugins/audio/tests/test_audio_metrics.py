"""Judges against closed forms, and against sounds that are known to be worse."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.data import ToySpeech
from flowloom_audio.metrics import LogMelFrechet, ShortTimeIntelligibility, SpectralDistance, SpeechJudge
from flowloom_audio.metrics.paired import si_sdr
from flowloom_audio.metrics.waves import word_errors
from flowloom_audio.spectra import spectral_distance


@pytest.fixture(scope="module")
def data():
    return ToySpeech(voices=2, takes=5)


def noisy(examples, ratio):
    """The same sounds in white noise, ``ratio`` dB below them."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(examples.x.shape, generator=draws) * examples.cond["mask"]
    gain = (examples.x.square().sum(1) / noise.square().sum(1) / 10 ** (ratio / 10)).sqrt()
    return Examples(examples.x + gain[:, None] * noise, examples.cond, examples.layout)


def test_signal_ratio_is_the_ratio_and_knows_no_scale():
    time = torch.arange(8000) / 8000
    wanted, other = (2 * torch.pi * 100 * time).sin(), (2 * torch.pi * 300 * time).sin()
    for ratio in (0.0, 10.0, 20.0):
        mixed = 3 * (wanted + other * 10 ** (-ratio / 20))
        assert float(si_sdr(mixed, wanted)) == pytest.approx(ratio, abs=1e-2)
        small = 1e-8
        for x, y in ((small * mixed, wanted), (mixed, small * wanted), (small * mixed, small * wanted)):
            assert float(si_sdr(x, y)) == pytest.approx(ratio, abs=1e-2)
    assert float(si_sdr(wanted, wanted)) > 70
    assert bool(si_sdr(torch.zeros(8), torch.zeros(8)).isfinite())


def test_a_silent_truth_does_not_outweigh_all_others():
    x = torch.randn(8, 512, generator=torch.Generator().manual_seed(0))
    silent = x.clone()
    silent[0] = 0
    lengths = torch.full((8,), 512)
    convergence, _ = spectral_distance(x, silent, (64,), lengths)
    assert float(convergence[0]) == pytest.approx(1, abs=0.3)
    assert float(convergence[1:].max()) == 0
    assert bool(spectral_distance(x, 0 * x, (64,), lengths)[0].isfinite().all())
    small, _ = spectral_distance(1e-7 * x.flip(0), 1e-7 * x, (64,), lengths)
    torch.testing.assert_close(small, spectral_distance(x.flip(0), x, (64,), lengths)[0], rtol=1e-4, atol=0)


def test_word_errors_are_edits():
    wanted = ["a", "b", "c"]
    assert word_errors(wanted, wanted) == 0
    assert word_errors(["a", "c"], wanted) == 1
    assert word_errors(["x", "a", "b", "c", "y"], wanted) == 2
    assert word_errors([], wanted) == 3


def test_more_noise_is_farther_by_every_distance(data):
    real = data.all().laid_out(data.spec)
    frechet, spectral = LogMelFrechet(), SpectralDistance()
    frechet.fit(data)
    rows = [{**frechet(one, real), **spectral(one, real)} for one in (real, noisy(real, 20), noisy(real, 0))]
    for name in rows[0]:
        values = [row[name] for row in rows]
        assert values[0] == pytest.approx(0, abs=1e-4)
        assert values[0] < values[1] < values[2]


def test_a_limit_of_frames_leaves_no_row_out(data):
    """Rows that come last are heard as well, where there are more frames than are compared."""
    real = data.all().laid_out(data.spec)
    far = noisy(real, 0)
    half = torch.arange(len(real.x)) < len(real.x) // 2
    mixed = Examples(torch.where(half[:, None], real.x, far.x), real.cond, real.layout)
    frechet = LogMelFrechet(frames=300)
    frechet.fit(data)
    clean, last = (frechet(one, real)["log_mel_frechet"] for one in (real, mixed))
    assert clean == pytest.approx(0, abs=1e-4)
    assert last > 1


def test_intelligibility_of_short_words(data):
    pytest.importorskip("pystoi")
    real = data.take(torch.arange(4)).laid_out(data.spec)
    metric = ShortTimeIntelligibility()
    metric.fit(data)
    values = [metric(one, real)["stoi"] for one in (real, noisy(real, 5), noisy(real, -10))]
    assert values[0] == pytest.approx(1, abs=1e-3)
    assert values[0] > values[1] > values[2]


def test_the_judge_hears_words_and_voices(data):
    judge = SpeechJudge(steps=60, batch=16)
    judge.fit(data)
    held_out = data.split("test").all()
    real = judge(held_out, held_out)
    assert real["judge_words"] > 0.9
    assert real["judge_speaker"] > 0.9
    other = dict(held_out.cond)
    other["speaker"] = 1 - other["speaker"]
    other["text"] = other["text"].roll(7, 0)
    wrong = judge(Examples(held_out.x, other), held_out)
    assert wrong["judge_speaker"] < 0.1
    assert wrong["judge_words"] < 0.5
    again = SpeechJudge(steps=60, batch=16)
    again.fit(data)
    assert again(held_out, held_out) == real


def test_judges_say_what_they_need():
    spec = Spec((8,), conditions={"label": Condition(2)})

    class Bare:
        pass

    bare = Bare()
    bare.spec = spec
    with pytest.raises(IncompatibleError, match="needs the condition 'text'"):
        SpeechJudge().fit(bare)
    with pytest.raises(IncompatibleError, match="give rate"):
        LogMelFrechet().fit(bare)
