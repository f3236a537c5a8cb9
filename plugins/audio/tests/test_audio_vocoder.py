"""Sound from frames: at once and in chunks, the same, and without a click between them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import flowloom as fl
from flowloom.codecs import Standardize
from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_audio.codecs import LogMel
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.emphasis import PreEmphasis
from flowloom_audio.models import PeriodWave
from flowloom_audio.sources import FrameEnergy
from flowloom_audio.vocoder import Vocoder


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(0)
    frames = torch.randn(8, 20, 8)
    data = Tensors(0.1 * torch.randn(8, 1280), {"mel": frames})
    network = PeriodWave(data.spec, periods=(1, 2), width=4, stages=1, blocks=1, mel_width=8, mel_depth=1)
    flow = fl.Flow(network, spec=data.spec, source=FrameEnergy(), solver=fl.solvers.Euler(2))
    flow.fit(data, steps=4, batch=8, lr=1e-2, ema=0.0)
    return flow


@pytest.mark.parametrize("count", [1, 20, 47])
def test_any_number_of_frames(flow, count):
    frames = torch.randn(2, count, 8)
    vocoder = Vocoder(flow)
    wave = vocoder(frames, seed=3)
    assert wave.shape == (2, 64 * count)
    assert torch.equal(wave, vocoder(frames, seed=3))
    assert not torch.equal(wave, vocoder(frames, seed=4))


def test_chunks_are_what_one_solve_says_and_joints_do_not_click(flow):
    frames = torch.randn(1, 50, 8, generator=torch.Generator().manual_seed(1))
    vocoder = Vocoder(flow)
    whole = vocoder(frames)
    pieces = list(vocoder.chunks(frames, size=8, context=12))
    assert [piece.shape[1] for piece in pieces] == [512] * 6 + [128]
    joined = torch.cat(pieces, 1)
    assert torch.allclose(joined, whole, atol=1e-3)
    # Without context the joints are heard: the test above can fail.
    apart = torch.cat(list(vocoder.chunks(frames, size=8, context=0)), 1)
    assert float((apart - whole).abs().max()) > 1e-2


def test_other_flows_are_refused():
    data = Tensors(torch.randn(8, 2))
    with pytest.raises(IncompatibleError, match="not MLP"):
        Vocoder(fl.Flow(fl.models.MLP(data.spec, width=4)))


def test_states_that_a_codec_standardised_are_heard_as_loud_as_the_data(flow):
    codec = Standardize(flow.spec, per_entry=False)
    codec.std, codec.mean = torch.tensor(0.1), torch.tensor(0.02)
    beside = fl.Flow(flow.model, spec=flow.spec, source=flow.source, solver=flow.solver, codec=codec)
    frames = torch.randn(2, 20, 8)
    assert torch.allclose(Vocoder(beside)(frames), 0.1 * Vocoder(flow)(frames) + 0.02)
    joined = torch.cat(list(Vocoder(beside).chunks(frames, size=8, context=12)), 1)
    assert torch.allclose(joined, Vocoder(beside)(frames), atol=1e-3)
    with pytest.raises(IncompatibleError, match="any length"):
        Vocoder(fl.Flow(flow.model, spec=flow.spec, source=flow.source, codec=Standardize(flow.spec)))


def test_a_codec_decodes_by_its_vocoder(flow):
    codec = LogMel(Spec((1280,), rate=8000), bands=8, window=256, hop=64, vocoder=Trained(flow))
    states = torch.randn(2, 20, 8)
    wave = codec.decode(Examples(states)).x
    assert torch.equal(wave, Vocoder(flow)(codec.logarithms(states)))
    assert not any(p.requires_grad for p in codec.parameters())
    at_16k = Trained(fl.Flow(flow.model, spec=flow.spec, source=flow.source))
    at_16k.flow.model.spec = replace(flow.model.spec, rate=16000)
    try:
        with pytest.raises(IncompatibleError, match="the vocoder is of sound at 16000 Hz, and codec log-mel"):
            LogMel(Spec((1280,), rate=8000), bands=8, window=256, hop=64, vocoder=at_16k)
    finally:
        flow.model.spec = replace(flow.model.spec, rate=None)
    with pytest.raises(IncompatibleError, match="8 bands every 64 samples"):
        LogMel(Spec((1280,), rate=8000), bands=8, hop=128, vocoder=Trained(flow))


def test_frames_are_read_where_they_stand_however_long_the_waveform_is():
    """To be folded, 512 samples are padded to 532 and 1,024 to 1,036: frames must not be stretched along."""
    torch.manual_seed(0)
    conditions = {"mel": fl.spec.Condition(shape=(16, 8))}
    network = PeriodWave(
        Spec((512,), conditions=conditions),
        periods=(7,),
        width=4,
        stages=1,
        blocks=1,
        mel_width=8,
        mel_depth=1,
    )
    x, frames, t = torch.randn(1, 1024), torch.randn(1, 32, 8), torch.full((1,), 0.5)
    whole = network(x, t, mel=frames)
    part = network(x[:, :512], t, mel=frames[:, :16])
    torch.testing.assert_close(part[:, :64], whole[:, :64], atol=1e-5, rtol=0)


def test_a_frame_is_heard_around_the_middle_of_its_window():
    """Frame k is of the samples around k hop, not of those from k hop on."""
    hop, k = 64, 8
    wave = torch.zeros(1, 16 * hop)
    wave[0, k * hop] = 1.0  # a click
    frames = Mel(8000, 8, 256, hop)(wave)
    loud = FrameEnergy(floor=1e-3).std_of(wave.shape, {"mel": frames}, wave)[0]
    places = torch.arange(16 * hop, dtype=torch.float32)
    assert abs(float((loud * places).sum() / loud.sum()) - k * hop) < 1

    torch.manual_seed(0)
    conditions = {"mel": fl.spec.Condition(shape=(16, 8))}
    network = PeriodWave(
        Spec((16 * hop,), conditions=conditions), width=8, stages=1, blocks=1, mel_width=8, mel_depth=1
    )
    # What reads many frames at once is left out here, so that one of them is heard where it stands.
    torch.nn.init.dirac_(network.frames.weight)
    network.read = torch.nn.ModuleList()
    mel = torch.zeros(1, 16, 8)
    other = mel.clone()
    other[0, k] = 1.0
    silence, time = torch.zeros(1, 16 * hop), torch.zeros(1)
    heard = (network(silence, time, mel=other) - network(silence, time, mel=mel)).abs()[0].detach()
    assert abs(float((heard * places).sum() / heard.sum()) - k * hop) < hop / 8


def test_a_vocoder_is_told_one_kind_of_frames_of_its_own_bands(flow):
    both = Spec((1280,), conditions={name: fl.spec.Condition(shape=(20, 8)) for name in ("mel", "mel2")})
    for other in ({"source": FrameEnergy("mel2")}, {"codec": PreEmphasis(both, level="mel2")}):
        parts = {"source": flow.source, **other}
        with pytest.raises(IncompatibleError, match=r"its model 'mel', its (source|codec) .* 'mel2'"):
            Vocoder(fl.Flow(flow.model, spec=flow.spec, **parts))
    for frames in (torch.randn(2, 5, 9), torch.randn(2, 0, 8), torch.randn(5, 8)):
        with pytest.raises(ShapeError, match=r"takes frames \(batch, frames, 8\)"):
            Vocoder(flow)(frames)
    double = torch.randn(2, 5, 8, dtype=torch.float64)
    assert torch.equal(Vocoder(flow)(double), Vocoder(flow)(double.float()))


def test_chunks_reach_as_far_back_as_their_codec_remembers(flow):
    """The sum of pre-emphasis forgets slowly: 16 frames of 64 samples keep 0.36 of it at 0.999."""
    codec = PreEmphasis(flow.spec, factor=0.999)
    beside = fl.Flow(flow.model, spec=flow.spec, source=flow.source, solver=flow.solver, codec=codec)
    frames = torch.randn(1, 60, 8, generator=torch.Generator().manual_seed(1))
    whole = Vocoder(beside)(frames)
    joined = torch.cat(list(Vocoder(beside).chunks(frames, size=8, context=12)), 1)
    assert float((joined - whole).abs().max()) < 0.01 * float(whole.abs().max())
