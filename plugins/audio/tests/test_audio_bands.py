"""Wavelet bands: nothing is lost, they move in turn, and each is told only what is below it."""

from __future__ import annotations

import math

import pytest
import torch

import flowloom as fl
from flowloom.clashes import problems
from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.bands import InTurn, PeriodWaveBands, WaveletBands
from flowloom_audio.bands.codec import merge, split
from flowloom_audio.models import PeriodWave

SPEC = Spec((4, 30), conditions={"mel": Condition(shape=(5, 8))})
SMALL = {"periods": (1, 2), "width": 4, "stages": 1, "blocks": 1, "mel_width": 8, "mel_depth": 1}


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_bands_are_an_orthonormal_view_of_the_waveform(levels):
    wave = torch.randn(3, 240)
    bands = split(wave, levels)
    assert bands.shape == (3, 2**levels, 240 // 2**levels)
    assert torch.allclose(merge(bands), wave, atol=1e-6)
    assert torch.allclose(bands.square().sum((1, 2)), wave.square().sum(1), rtol=1e-5)


def test_bands_are_in_the_order_of_their_frequencies():
    for band in range(4):
        # A tone in the middle of the band: (band + 1/2) / 8 of the rate.
        tone = torch.sin(2 * math.pi * (band + 0.5) / 8 * torch.arange(800))[None]
        assert int(split(tone, 2)[0].square().sum(1).argmax()) == band


def test_the_codec_gives_every_band_unit_deviation_and_knows_its_volume():
    wave = torch.randn(50, 16).cumsum(1)
    codec = WaveletBands(Spec((16,)), levels=1)
    codec.fit(Tensors(wave))
    states = codec.encode(Examples(wave)).x
    assert torch.allclose(states.std((0, 2)), torch.ones(2), atol=1e-3)
    assert torch.allclose(codec.decode(Examples(states)).x, wave, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(lambda x: codec.encode_state(x[None])[0].flatten(), wave[0])
    assert torch.allclose(codec.log_det(Examples(wave[:1])), jacobian.slogdet()[1][None], atol=1e-4)


def test_a_band_moves_in_its_turn_alone():
    x0, x1 = torch.randn(5, 4, 3), torch.randn(5, 4, 3)
    t = torch.tensor([0.0, 0.125, 0.5, 0.8, 1.0])
    point = InTurn().sample(x0, x1, t)
    assert torch.equal(point.x_t[0], x0[0])
    assert torch.allclose(point.x_t[4], x1[4])
    assert torch.allclose(point.x_t[1, 0], (x0[1, 0] + x1[1, 0]) / 2)
    assert torch.equal(point.x_t[1, 1:], x0[1, 1:])
    assert torch.allclose(point.x_t[3, :3], x1[3, :3])
    assert torch.allclose(point.velocity[3, 3], 4 * (x1[3, 3] - x0[3, 3]))
    assert not point.velocity[3, :3].any()
    # The walk over the exact velocities ends at the data.
    x = x0
    for i in range(8):
        x = x + InTurn().sample(x0, x1, torch.full((5,), i / 8)).velocity / 8
    assert torch.allclose(x, x1, atol=1e-5)


def test_an_estimator_is_told_what_is_below_and_nothing_else():
    torch.manual_seed(0)
    network = PeriodWaveBands(SPEC, **SMALL).eval()
    x, mel = torch.randn(2, 4, 30), torch.randn(2, 5, 8)
    t = torch.tensor([0.3, 0.6])  # the second band, and the third
    said = network(x, t, mel=mel)
    for row, band in enumerate((1, 2)):
        others = [k for k in range(4) if k != band]
        assert not said[row, others].any()
        assert said[row, band].any()
        for k in range(4):
            changed = x.clone()
            changed[row, k] += 1
            differs = not torch.equal(network(changed, t, mel=mel)[row, band], said[row, band])
            assert differs == (k <= band)
    # Rows of one turn are what the estimator of that band says by itself, at its own time.
    alone = network.each[1](x[:1, 1], torch.tensor([0.2]), mel=mel[:1], below=x[:1, :1])
    assert torch.allclose(said[:1, 1], 4 * alone, atol=1e-5)


def test_withheld_waveforms_beside_are_silence():
    conditions = {"mel": Condition(shape=(5, 8)), "below": Condition(shape=(2, 30))}
    network = PeriodWave(Spec((30,), conditions=conditions), beside="below", **SMALL)
    x, t, mel = torch.randn(2, 30), torch.rand(2), torch.randn(2, 5, 8)
    told = network(x, t, mel=mel, below=torch.zeros(2, 2, 30))
    hidden = network(x, t, mel=mel, below=torch.randn(2, 2, 30), null_below=torch.ones(2, dtype=torch.bool))
    assert torch.equal(told, hidden)
    assert torch.equal(told, network(x, t, mel=mel))
    with pytest.raises(IncompatibleError, match="waveforms in the condition 'above'"):
        PeriodWave(Spec((30,), conditions=conditions), beside="above", **SMALL)


@pytest.mark.parametrize(
    ("solver", "fits"),
    [
        (fl.solvers.Midpoint(8), True),
        (fl.solvers.Euler(4), True),
        (fl.solvers.Midpoint(6), False),
        (fl.solvers.Heun(8), False),
        (fl.solvers.Euler(grid=[0, 0.5, 1]), False),
    ],
)
def test_solvers_that_ask_beyond_a_cut_are_refused(solver, fits):
    said = problems({"path": InTurn(), "spec": SPEC, "solver": solver})
    assert [clash.second for clash in said] == ([] if fits else ["solver"])


def test_what_has_no_bands_is_refused():
    assert [c.second for c in problems({"path": InTurn(), "spec": Spec((8,))})] == ["data"]
    with pytest.raises(IncompatibleError, match="multiple of 4"):
        WaveletBands(Spec((42,)))
    marked = Spec((40,), conditions={"mask": Condition(shape=(40,), role="real")})
    with pytest.raises(IncompatibleError, match="with marks"):
        WaveletBands(marked)
    with pytest.raises(IncompatibleError, match="codec: wavelet-bands"):
        PeriodWaveBands(Spec((40,)))
