"""The vocoder that works on frames of the spectrum, and the codec that flattens what it hears."""

from __future__ import annotations

import pytest
import torch
from torch.func import jvp

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom_audio.codecs import Mel
from flowloom_audio.emphasis import PreEmphasis
from flowloom_audio.models import SpectralVocoder
from flowloom_audio.sources import FrameEnergy
from flowloom_audio.vocoder import Vocoder

SPEC = Spec((1280,), conditions={"mel": Condition(shape=(20, 8))})


def network(**settings):
    torch.manual_seed(0)
    model = SpectralVocoder(SPEC, width=16, depth=2, **settings).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("window", [None, 128, 192])
@pytest.mark.parametrize("samples", [64, 1280, 1291])
def test_what_is_transformed_comes_back(window, samples):
    model = network(window=window)
    x = torch.randn(3, samples)
    spectra = model._transformed(x)
    assert torch.allclose(model._heard(spectra, samples), x, atol=1e-5)
    # White noise has bins of unit size, whatever the window: inputs of a usual size.
    many = model._transformed(torch.randn(50, 1280))[:, 4:-4, 1:-1]
    assert float(many.abs().square().mean()) == pytest.approx(1.0, abs=0.05)


def test_a_gain_alone_is_a_gain_of_the_waveform():
    model = SpectralVocoder(SPEC, width=16, depth=1)
    bins = model.window // 2 + 1
    x, t, mel = torch.randn(2, 1280), torch.rand(2), torch.randn(2, 20, 8)
    assert not bool(model(x, t, mel=mel).any())
    model.out.bias.data[2 * bins :] = 0.7
    assert torch.allclose(model(x, t, mel=mel), 0.7 * x, atol=1e-5)
    # What it adds stands beside that: a constant in the bin of 0 Hz.
    model.out.bias.data[0] = 1.0
    added = (model(x, t, mel=mel) - 0.7 * x)[:, 256:-256]
    assert torch.allclose(added, added.mean().expand_as(added), atol=1e-4)
    assert float(added.detach().mean()) > 0.01


def test_frames_are_heard_where_they_stand_and_number_as_they_like():
    model = network()
    t = torch.rand(2)
    for frames in (1, 7, 33):
        out = model(torch.randn(2, 64 * frames), t, mel=torch.randn(2, frames, 8))
        assert out.shape == (2, 64 * frames)
        assert bool(out.isfinite().all())
    x, mel = torch.randn(2, 6400), torch.randn(2, 100, 8)
    other = mel.clone()
    other[:, 50] += 1.0
    change = (model(x, t, mel=mel) - model(x, t, mel=other)).abs().amax(0)
    moved = (change > 1e-6).nonzero().flatten()
    # Two blocks of seven frames and half a window on either side; the middle is the middle of the window.
    assert int(moved.min()) >= 50 * 64 - 6 * 64 - 128
    assert int(moved.max()) <= 50 * 64 + 6 * 64 + 128
    assert abs(float(moved.float().mean()) - 50 * 64) < 64


def test_rows_whose_frames_are_withheld_know_nothing_of_them():
    model = network()
    x, t, mel = torch.randn(2, 1280), torch.rand(2), torch.randn(2, 20, 8)
    rows = torch.tensor([True, False])
    some = model(x, t, mel=mel, null_mel=rows)
    assert torch.allclose(some[0], model(x, t)[0], atol=1e-5)
    assert torch.allclose(some[1], model(x, t, mel=mel)[1], atol=1e-5)


def test_it_has_derivatives_in_time_and_state():
    model = network()
    x, t, mel = torch.randn(2, 1280), torch.rand(2), torch.randn(2, 20, 8)
    dx, dt = torch.randn_like(x), torch.ones_like(t)
    _, slope = jvp(lambda x, t: model(x, t, mel=mel), (x, t), (dx, dt))
    step = 1e-3
    ahead, behind = (model(x + s * dx, t + s * dt, mel=mel) for s in (step, -step))
    assert torch.allclose(slope, (ahead - behind) / (2 * step), atol=2e-2 * float(slope.detach().abs().max()))


def test_other_data_are_refused():
    with pytest.raises(IncompatibleError, match="add the view mel-beside"):
        SpectralVocoder(Spec((1280,)))
    with pytest.raises(IncompatibleError, match="is for waveforms"):
        SpectralVocoder(Spec((20, 8)))
    with pytest.raises(ValueError, match="at least two hops of 64 samples, got 64"):
        SpectralVocoder(SPEC, window=64)
    with pytest.raises(ValueError, match="odd"):
        SpectralVocoder(SPEC, kernel=4)


@pytest.mark.parametrize("level", [None, "mel"])
def test_it_is_a_vocoder_whose_chunks_join(level):
    torch.manual_seed(0)
    data = Tensors(0.1 * torch.randn(8, 1280), {"mel": torch.randn(8, 20, 8)})
    model = SpectralVocoder(data.spec, width=16, depth=2)
    flow = fl.Flow(
        model,
        spec=data.spec,
        source=FrameEnergy() if level is None else fl.sources.Gaussian(),
        codec=PreEmphasis(data.spec, level=level),
        solver=fl.solvers.Euler(2),
    )
    flow.fit(data, steps=4, batch=8, lr=1e-2, ema=0.0)
    vocoder, frames = Vocoder(flow), torch.randn(2, 50, 8)
    whole = vocoder(frames)
    assert whole.shape == (2, 3200)
    # Pre-emphasis remembers for some hundred samples, the network for a few frames: both lie in the context.
    joined = torch.cat(list(vocoder.chunks(frames, size=8, context=24)), 1)
    assert torch.allclose(joined, whole, atol=1e-4)
    apart = torch.cat(list(vocoder.chunks(frames, size=8, context=0)), 1)
    assert float((apart - whole).abs().max()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [0.0, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("samples", [1, 37, 20_000])
def test_differences_are_those_of_the_definition_and_come_back(dtype, factor, samples):
    codec = PreEmphasis(Spec((samples,)), factor)
    codec.std.fill_(0.25)
    x = torch.randn(2, samples, dtype=dtype)
    flat = codec.encode(Examples(x)).x
    assert torch.allclose(flat[:, 0], x[:, 0] / 0.25)
    assert torch.allclose(flat[:, 1:], (x[:, 1:] - factor * x[:, :-1]) / 0.25, atol=1e-5)
    # Rounding of a difference adds up over the 1 / (1 - factor) samples that are remembered.
    assert torch.allclose(codec.decode(Examples(flat)).x, x, atol=20 * torch.finfo(dtype).eps / (1 - factor))


def test_speech_is_flattened_to_unit_deviation_without_its_padding():
    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(40, 2000, generator=generator)
    for n in range(1, 2000):
        walk[:, n] += 0.95 * walk[:, n - 1]
    mask = torch.arange(2000).expand(40, -1) < 500
    data = Tensors(walk * mask, {"mask": mask}, roles={"mask": "real"})
    codec = PreEmphasis(data.spec)
    codec.fit(data)
    assert float(codec.std) == pytest.approx(1.0, abs=0.02)
    flat = codec.encode(data.all()).x[:, :500]
    power = torch.fft.rfft(flat).abs().square().mean(0)
    assert float(power[:50].mean() / power[-50:].mean()) == pytest.approx(1.0, abs=0.2)
    plain = torch.fft.rfft(walk[:, :500]).abs().square().mean(0)
    assert float(plain[:50].mean() / plain[-50:].mean()) > 50


def test_densities_of_flattened_waveforms_are_those_of_waveforms():
    codec = PreEmphasis(Spec((5,)), 0.9)
    codec.std.fill_(0.5)
    x = torch.randn(2, 5)
    jacobian = torch.func.jacrev(lambda row: codec.encode(Examples(row[None])).x[0])(x[0])
    assert float(codec.log_det(Examples(x))[0]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]))


def test_what_pre_emphasis_cannot_do_is_said():
    with pytest.raises(IncompatibleError, match="shape"):
        PreEmphasis(Spec(()))
    known = {"known": Condition(shape=(5,), role="given"), "x": Condition(shape=(5,), role="values")}
    with pytest.raises(IncompatibleError, match="use standardize"):
        PreEmphasis(Spec((5,), conditions=known))
    with pytest.raises(ValueError, match="factor"):
        PreEmphasis(Spec((5,)), factor=1.0)
    with pytest.raises(DataError, match="measures data"):
        PreEmphasis(Spec((5,))).fit(None)


def test_quiet_sounds_are_levelled_by_their_frames():
    generator = torch.Generator().manual_seed(0)
    # A second of noise that is loud, a hundredth as loud, and silent.
    loud = torch.cat([torch.ones(4096), 0.01 * torch.ones(4096), torch.zeros(4096)])
    waves = loud * torch.randn(30, 12288, generator=generator)
    mel = Mel(8000, 16, 256, 64)
    data = Tensors(waves, {"mel": mel(waves)})
    codec = PreEmphasis(data.spec, level="mel", floor=0.002)
    codec.fit(data)
    rows = data.all()
    even = codec.encode(rows)
    sizes = [float(even.x[:, s : s + 3000].std()) for s in (500, 4600, 8700)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.25)
    assert sizes[2] == 0.0
    assert float(even.x.std()) == pytest.approx(1.0, abs=1e-3)
    plain = PreEmphasis(data.spec)
    plain.fit(data)
    assert float(plain.encode(rows).x[:, 4600:7600].std()) < 0.03
    assert torch.allclose(codec.decode(even).x, waves, atol=1e-4)
    # Levels are the frames' alone: what a network makes of them is decoded as loud as they say.
    white = Examples(torch.randn(30, 12288, generator=generator), rows.cond)
    heard = plain.encode(codec.decode(white)).x
    assert float(heard[:, 4600:7600].std() / heard[:, 500:3500].std()) == pytest.approx(0.01, rel=0.3)
    # Without frames one deviation is all that is known.
    bare = codec.encode(Examples(waves, {})).x
    assert torch.allclose(bare * codec.std, plain.encode(rows).x * plain.std, atol=1e-5)
    with pytest.raises(IncompatibleError, match="add the view mel-beside"):
        PreEmphasis(Spec((5,)), level="mel")


def test_densities_of_levelled_waveforms_are_those_of_waveforms():
    spec = Spec((8,), conditions={"mel": Condition(shape=(2, 3))})
    codec = PreEmphasis(spec, 0.9, level="mel")
    codec.std.fill_(0.5)
    codec.largest.fill_(8.0)
    x, mel = torch.randn(1, 8), torch.randn(1, 2, 3)
    jacobian = torch.func.jacrev(lambda row: codec.encode(Examples(row[None], {"mel": mel})).x[0])(x[0])
    told = float(codec.log_det(Examples(x, {"mel": mel}))[0])
    assert told == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), rel=1e-4)
    assert told != pytest.approx(8 * 0.6931, rel=0.1)
