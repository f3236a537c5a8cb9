"""Pitch against sounds that have a known one."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom_audio.metrics import PitchError, SpectralDistance
from flowloom_audio.pitch import pitch_of

RATE = 4000


def glide(pitch: float, seconds: float = 0.3, bend: float = 0.2, rate: int = RATE):
    """A sound of eight harmonics at most, and its pitch at every sample."""
    n = round(seconds * rate)
    time = torch.arange(n, dtype=torch.float64)
    track = pitch * (1 + bend * (time / n - 0.5))
    phase = 2 * torch.pi * track.cumsum(0) / rate
    count = min(8, int(rate / 2 / (1.2 * pitch)))
    return sum((k * phase).sin() / k for k in range(1, count + 1)).float(), track


def judged(samples, real, lengths=None, **settings):
    """The metric of rows at `RATE`."""
    metric = PitchError(rate=RATE, **settings)
    metric.fit(Tensors(real))
    marks = None if lengths is None else torch.arange(real.shape[1]) < torch.tensor(lengths)[:, None]
    layout = Layout(real=marks)
    return metric(
        Examples(samples, {}, layout if len(samples) == len(real) else None), Examples(real, {}, layout)
    )


@pytest.mark.parametrize("rate", [4000, 8000, 22_050])
@pytest.mark.parametrize("pitch", [85.0, 150.0, 260.0])
def test_a_glide_is_followed_within_a_tenth_of_a_semitone(pitch, rate):
    wave, track = glide(pitch, rate=rate)
    found = pitch_of(wave[None], torch.tensor([len(wave)]), rate)
    assert bool(found.real.all())
    share = torch.linspace(0, 1, found.frequency.shape[1] + 2)[1:-1]
    true = track[(share * (len(track) - 1)).long()]
    assert float((1200 * (found.frequency[0] / true).log2()).abs().max()) < 60  # places are only about right
    steady, _ = glide(pitch, bend=0.0, rate=rate)
    flat = pitch_of(steady[None], torch.tensor([len(steady)]), rate)
    assert float((1200 * (flat.frequency / pitch).log2()).abs().max()) < 8
    assert float(flat.periodicity.min()) > 0.95


def test_an_interval_is_told_in_cents():
    low, high = (glide(f, bend=0.0)[0] for f in (120.0, 120.0 * 2 ** (3 / 12)))
    found = judged(torch.stack([high, low]), torch.stack([low, low]))
    assert found["pitch_rmse"] == pytest.approx(300 / math.sqrt(2), rel=0.02)
    octave = judged(glide(240.0, bend=0.0)[0][None], low[None])
    assert octave["pitch_rmse"] == pytest.approx(1200, rel=0.01)
    assert octave["voicing_f1"] == pytest.approx(1)


def test_draws_are_judged_by_the_row_they_belong_to():
    a, b = glide(100.0, bend=0.0)[0], glide(200.0, bend=0.0)[0]
    truth = torch.stack([a, b])
    assert judged(torch.stack([a, b, a, b]), truth)["pitch_rmse"] == pytest.approx(0, abs=1e-6)
    assert judged(torch.stack([a, b, b, a]), truth)["pitch_rmse"] == pytest.approx(
        1200 / math.sqrt(2), rel=0.01
    )


def test_noise_and_silence_are_not_voiced():
    voiced = glide(120.0)[0]
    noise = torch.randn(voiced.shape, generator=torch.Generator().manual_seed(0))
    truth = torch.stack([voiced, voiced])
    half = judged(torch.stack([voiced, torch.zeros_like(voiced)]), truth)
    assert half["voicing_f1"] == pytest.approx(2 / 3, abs=0.01)
    assert half["periodicity_error"] == pytest.approx(math.sqrt(0.5), abs=0.02)
    hissed = judged(torch.stack([voiced, noise]), truth)
    assert hissed["voicing_f1"] == pytest.approx(2 / 3, abs=0.05)
    assert hissed["pitch_rmse"] > 200  # what the search found counts
    # Nothing is said of the pitch where nobody speaks.
    nobody = judged(truth, torch.zeros_like(truth))
    assert "pitch_rmse" not in nobody
    assert nobody["periodicity_error"] > 0.9


def test_what_stands_in_padding_is_not_heard():
    voiced, other = glide(120.0)[0], glide(200.0)[0]
    n = len(voiced) // 2
    mixed = torch.cat([voiced[:n], other[n:]])
    truth = torch.stack([voiced, voiced])
    assert judged(torch.stack([mixed, voiced]), truth)["pitch_rmse"] > 100
    assert judged(torch.stack([mixed, voiced]), truth, [n, len(voiced)])["pitch_rmse"] == pytest.approx(
        0, abs=1e-6
    )


def test_it_agrees_with_librosa():
    librosa = pytest.importorskip("librosa")
    wave, _ = glide(140.0, seconds=0.5, bend=0.0, rate=16_000)
    theirs = librosa.yin(wave.numpy(), fmin=70, fmax=400, sr=16_000)[4:-4]
    ours = pitch_of(wave[None], torch.tensor([len(wave)]), 16_000).frequency[0]
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), rel=2e-3)


def test_bad_settings_and_data_are_refused():
    with pytest.raises(ValueError, match="lowest < highest"):
        PitchError(lowest=300, highest=200)
    with pytest.raises(ValueError, match="at most half the rate"):
        pitch_of(torch.zeros(1, 100), torch.tensor([100]), 600)
    with pytest.raises(IncompatibleError, match="is for waveforms"):
        PitchError(rate=RATE).fit(Tensors(torch.zeros(4, 3, 2)))
    with pytest.raises(IncompatibleError, match="give rate"):
        PitchError().fit(type("Bare", (), {"spec": Spec((8,))})())


def test_the_distance_of_vocoders_is_the_sum_of_both():
    x, y = (
        torch.randn(3, 600, generator=torch.Generator().manual_seed(1)),
        glide(120.0)[0][None, :600].repeat(3, 1),
    )
    found = SpectralDistance(windows=(64, 128))(Examples(x), Examples(y))
    assert found["stft_distance"] == pytest.approx(found["stft_convergence"] + found["stft_log_magnitude"])


@pytest.mark.parametrize("rate", [8000, 11025, 16000])
@pytest.mark.parametrize("level", [0.01, 0.1])
def test_what_is_constant_has_no_pitch(rate, level):
    wave = torch.full((2, rate), level)
    wave[1, rate // 2 :] = 0
    found = pitch_of(wave, torch.tensor([rate, rate // 2]), rate)
    assert float(found.periodicity[found.real].max()) < 0.8


def test_a_constant_beside_it_leaves_the_pitch():
    wave = torch.sin(2 * math.pi * 150 * torch.arange(8000) / 8000)[None]
    lengths = torch.tensor([8000])
    plain, raised = (pitch_of(wave + level, lengths, 8000) for level in (0.0, 3.0))
    assert torch.allclose(raised.frequency[raised.real], plain.frequency[plain.real], rtol=1e-3)


def test_no_rows_have_no_frames():
    assert pitch_of(torch.zeros(0, 800), torch.zeros(0, dtype=torch.long), 8000).frequency.shape == (0, 0)


@pytest.mark.parametrize(("low", "high"), [(399.9, 400), (70, 5000)])
def test_ranges_without_a_period_are_told_when_the_rate_is_known(low, high):
    metric = PitchError(rate=8000, lowest=low, highest=high)
    with pytest.raises(IncompatibleError, match="metric pitch-error: "):
        metric.fit(Tensors(torch.zeros(4, 800)))


def test_pitch_knows_no_loudness():
    wave = torch.sin(2 * math.pi * 150 * torch.arange(4000, dtype=torch.float64) / 8000)[None]
    loud, soft = (pitch_of(level * wave, torch.tensor([4000]), 8000) for level in (1.0, 1e-8))
    torch.testing.assert_close(soft.frequency, loud.frequency)
    torch.testing.assert_close(soft.periodicity, loud.periodicity)
