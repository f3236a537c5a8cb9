"""Codec, networks, objective, source and views, each by what it promises."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom_audio.codecs import LogMel, Mel
from flowloom_audio.data import ToySpeech
from flowloom_audio.models import PeriodWave, SpeechTransformer
from flowloom_audio.objective import SpeechMatching
from flowloom_audio.sources import FrameEnergy
from flowloom_audio.views import AddNoise, FrontEnd, KnownSpans, MelBeside, Piece, Reverberate


@pytest.fixture(scope="module")
def data():
    return ToySpeech(prompt=0.128)


@pytest.fixture(scope="module")
def codec(data):
    codec = LogMel(data.spec, bands=24, iterations=16)
    codec.fit(data)
    return codec


def test_frames_are_those_of_torchaudio():
    from flowloom.libraries import torchaudio

    wave = torch.randn(2, 1280, generator=torch.Generator().manual_seed(0))
    own = Mel(8000, 24, 512, 128)(wave)
    settings = {"power": 1.0, "pad_mode": "constant", "norm": "slaney", "mel_scale": "slaney"}
    theirs = torchaudio().transforms.MelSpectrogram(8000, 512, hop_length=128, n_mels=24, **settings)(wave)
    assert torch.allclose(own, theirs[..., :10].clamp_min(1e-3).log().transpose(1, 2))


def test_frames_do_not_depend_on_padding(data, codec):
    examples = data.take(torch.arange(4))
    longest = int(examples.cond["mask"].sum(1).max() // 128 + 1) * 128
    cut = Examples(examples.x[:, :longest], {**examples.cond, "mask": examples.cond["mask"][:, :longest]})
    rubbish = Examples(examples.x.masked_fill(~examples.cond["mask"], 9.0), examples.cond)
    whole = codec.encode(examples)
    assert torch.allclose(codec.encode(cut).x, whole.x[:, : longest // 128], atol=1e-5)
    assert torch.equal(codec.encode(rubbish).x, whole.x)
    real = whole.x[whole.cond["mask"]]
    assert abs(float(real.mean())) < 0.3
    assert 0.6 < float(real.std()) < 1.4


@pytest.mark.parametrize(("decoder", "other"), [("vocoder", "Griffin-Lim"), ("griffin-lim", "the vocoder")])
def test_the_decoder_that_is_not_asked_is_compared(data, codec, monkeypatch, decoder, other):
    """Samples are heard by the decoder that is named, and tables tell what the other makes of them."""
    states = codec.encode(data.take(torch.arange(2)))
    plain = codec.decode(states)
    assert codec.compared(states) == {}
    monkeypatch.setattr(codec, "vocoder", object())
    monkeypatch.setattr(codec, "vocoded", lambda frames: torch.ones(len(frames), 128 * frames.shape[1]))
    monkeypatch.setattr(codec, "decoder", decoder)
    found = codec.compared(states)
    assert list(found) == [other]
    heard = {other: found[other], "own": codec.decode(states)}
    by_griffin_lim = "own" if decoder == "griffin-lim" else other
    for name, examples in heard.items():
        assert torch.equal(examples.x, plain.x) == (name == by_griffin_lim)
        assert torch.equal(examples.cond["mask"], plain.cond["mask"])


def test_a_vocoder_that_is_not_there_cannot_decode():
    with pytest.raises(ValueError, match=r"decoder vocoder is asked of a vocoder, and none is given"):
        LogMel(Spec((1024,)), rate=8000, decoder="vocoder")
    assert LogMel(Spec((1024,)), rate=8000).decoder == "griffin-lim"


def test_griffin_lim_sounds_as_the_frames_say(data, codec):
    examples = data.take(torch.arange(6))
    states = codec.encode(examples)
    back = codec.decode(states)
    assert back.x.shape == examples.x.shape
    assert bool((back.x[~back.cond["mask"]] == 0).all())
    again = codec.encode(back)
    kept = states.cond["mask"]
    error = (again.x - states.x)[kept].square().mean() / states.x[kept].square().mean()
    noise = codec.encode(Examples(0.1 * torch.randn_like(examples.x), examples.cond))
    assert float(error) < 0.15 * float(
        (noise.x - states.x)[kept].square().mean() / states.x[kept].square().mean()
    )


def test_frames_are_drawn_between_those_whose_windows_overlap_little(data, monkeypatch):
    """Half an overlap leaves phases to guess; frames that overlap enough are left as they are."""
    examples = data.take(torch.arange(6))

    def error(window, hop, between=True):
        codec = LogMel(data.spec, rate=8000, bands=64, window=window, hop=hop)
        codec.fit(data)
        with monkeypatch.context() as patch:
            if not between:
                patch.setattr(
                    "flowloom_audio.codecs.log_mel.between",
                    lambda frames, places: frames[..., places.long()],
                )
            back = codec.decode(codec.encode(examples))
        # Judged by frames every 32 samples, which tell what was lost between the codec's own.
        judge = Mel(8000, 64, 256, 32)
        return float((judge(back.x) - judge(examples.x)).abs().mean())

    assert error(256, 128) < 0.97 * error(256, 128, between=False)
    assert error(512, 128) == error(512, 128, between=False)
    assert error(256, 127) == error(256, 127, between=False)  # in parts of 1 sample alone


def test_codec_is_for_waveforms():
    with pytest.raises(IncompatibleError, match=r"log-mel is for waveforms"):
        LogMel(Spec((3, 4)))


def moved(model):
    """Weights that are not at their zero initialisation."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


@pytest.fixture(scope="module")
def network(codec):
    return moved(SpeechTransformer(codec.spec, width=32, depth=2, heads=2, ignore=["speaker"]))


def test_network_hears_text_and_voice_and_not_the_speaker(data, codec, network):
    states = codec.encode(data.take(torch.arange(4)))
    t = torch.full((4,), 0.5)
    plain = network(states.x, t, **states.cond)
    for name, heard in {"text": True, "prompt": True, "speaker": False}.items():
        changed = {**states.cond, name: states.cond[name].flip(0).roll(1, 0)}
        if name == "text":
            changed[name] = data.take(torch.tensor([59, 1, 2, 3])).cond["text"]
        if name == "prompt":
            changed[name] = states.cond[name] * 0
        other = network(states.x, t, **changed)
        assert torch.equal(other, plain) != heard
    null = torch.ones(4, dtype=torch.bool)
    withheld = network(states.x, t, **states.cond, null=null)
    gone = network(states.x, t, mask=states.cond["mask"])
    assert torch.allclose(withheld, gone, atol=1e-5)


def test_network_does_not_see_padding(data, codec, network):
    states = codec.encode(data.take(torch.arange(4)))
    mask = states.cond["mask"]
    longest = int(mask.sum(1).max())
    t = torch.full((4,), 0.5)
    whole = network(states.x, t, **states.cond)
    cut = network(states.x[:, :longest], t, **{**states.cond, "mask": mask[:, :longest]})
    assert torch.allclose(whole[:, :longest], cut, atol=1e-4)
    assert bool((whole[~mask] == 0).all())


def test_length_is_learned_and_made_up_when_sampling(data, codec):
    torch.manual_seed(0)
    objective = SpeechMatching(codec.spec, ignore=["speaker"])
    network = SpeechTransformer(codec.spec, width=16, depth=1, heads=2, ignore=["speaker"])
    flow = fl.Flow(network, objective=objective, codec=codec, spec=codec.spec, solver=fl.solvers.Euler(1))
    cond = codec.encode_conditions(data.all().cond)
    optimizer = torch.optim.Adam(objective.length.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        objective.length.nll(cond, cond["mask"].sum(1)).mean().backward()
        optimizer.step()
    examples = data.split("test").all()
    told = {name: value for name, value in examples.cond.items() if name != "mask"}
    drawn = flow.solve(len(examples), cond=told, seed=0).cond["mask"].sum(1).float()
    wanted = codec.encode_conditions(examples.cond)["mask"].sum(1).float()
    # The pace of a take, up to a fifth of the length, cannot be known.
    assert float((drawn / wanted).log().abs().mean()) < 0.25
    assert abs(float((drawn / wanted).log().mean())) < 0.1
    given = flow.solve(4, cond={k: v[:4] for k, v in examples.cond.items()}, seed=0).cond["mask"]
    assert torch.equal(given, codec.encode_conditions(examples.cond)["mask"][:4])


def test_what_no_network_is_told_need_not_be_given(data, codec):
    told = {name: value for name, value in data.all().cond.items() if name not in ("mask", "speaker")}
    alone = {"prompt": told["prompt"]}
    for unread, by_length, missing in (
        (["speaker"], ["speaker"], ()),
        (["speaker", "text"], ["speaker"], ("text",)),  # by which the length is known
        (["speaker", "text"], ["speaker", "text"], ()),
    ):
        network = SpeechTransformer(codec.spec, width=16, depth=1, heads=2, ignore=unread)
        objective = SpeechMatching(codec.spec, ignore=by_length)
        flow = fl.Flow(network, objective=objective, codec=codec, spec=codec.spec)
        assert flow.missing(told) == ()
        assert flow.missing(alone if "text" in unread else told) == missing


def test_objective_needs_a_length():
    with pytest.raises(IncompatibleError, match="use objective: flow-matching"):
        SpeechMatching(Spec((8, 4)))


VOCODED = Spec((1280,), conditions={"mel": Condition(shape=(20, 8))})


def test_columns_of_a_period_are_not_mixed():
    """With kernels of one sample everywhere else, a sample moves only those of its own phase."""
    torch.manual_seed(0)
    model = moved(
        PeriodWave(VOCODED, periods=[5], width=4, stages=2, stride=2, blocks=1, mel_width=8, mel_depth=1)
    )
    frames = [tell(torch.randn(1, 8, 20)) for tell in model.tell]
    frames = [tell(torch.randn(1, 8, 20)) for tell in model.tell]
    steer = torch.zeros(1, 16)
    x = torch.randn(1, 1, 1280)
    bumped = x.clone()
    bumped[0, 0, 502] += 1.0
    change = (model._folded(bumped, frames, steer, 5) - model._folded(x, frames, steer, 5)).abs().sum(1)[0]
    moved_at = (change > 1e-6).nonzero().flatten()
    assert len(moved_at) > 3
    assert set((moved_at % 5).tolist()) == {502 % 5}


def test_vocoder_takes_any_number_of_frames_and_freeu_is_off_in_training():
    torch.manual_seed(0)
    settings = {"width": 4, "stages": 2, "blocks": 1, "mel_width": 8, "mel_depth": 1}
    model = moved(PeriodWave(VOCODED, **settings, freeu=(0.9, 1.1)))
    for frames in (1, 7, 33):
        out = model(torch.randn(2, 64 * frames), torch.rand(2), mel=torch.randn(2, frames, 8))
        assert out.shape == (2, 64 * frames)
        assert bool(out.isfinite().all())
    plain = moved(PeriodWave(VOCODED, **settings))
    plain.load_state_dict(model.state_dict())
    x, t, mel = torch.randn(2, 1280), torch.rand(2), torch.randn(2, 20, 8)
    assert not torch.allclose(model(x, t, mel=mel), plain(x, t, mel=mel))
    assert torch.allclose(model.train()(x, t, mel=mel), plain.train()(x, t, mel=mel))
    with pytest.raises(IncompatibleError, match="add the view mel-beside"):
        PeriodWave(Spec((1280,)))


def test_noise_is_as_loud_as_the_frames(data):
    view = MelBeside(8000, 16, 256, 64)
    cropped = Piece(1920)
    draws = torch.Generator().manual_seed(0)
    pieces = view(cropped(data.all().laid_out(data.spec), draws), draws)
    source = FrameEnergy(scale=0.5)
    held = fl.data.Tensors(pieces.x, {"mel": pieces.cond["mel"]})
    source.fit(held)
    std = source.std_of((len(pieces), 1920), pieces.cond, pieces.x)
    loud = [v.unflatten(1, (30, 64)).square().mean(2).sqrt().flatten() for v in (pieces.x, std)]
    assert float(torch.corrcoef(torch.stack(loud))[0, 1]) > 0.7
    noise = source.sample(
        (400, 1920), fl.draw.Draw(draws), cond={"mel": pieces.cond["mel"][:1].expand(400, -1, -1)}
    )
    assert torch.allclose(noise.std(0), std[0], rtol=0.2)
    silent = source.std_of((1, 1920), {"mel": torch.full((1, 30, 16), -7.0)}, noise)
    assert torch.allclose(silent, torch.full((1, 1920), 0.05))


def test_views_degrade_as_they_say(data):
    examples = data.all().laid_out(data.spec)
    draws = torch.Generator().manual_seed(0)
    noisy = AddNoise(snr=(5.0, 5.0))(examples, draws).cond["degraded"]
    clean = Layout.of(data.spec, examples.cond).zero(examples.x)
    ratio = 10 * (clean.square().sum(1) / (noisy - clean).square().sum(1)).log10()
    assert torch.allclose(ratio, torch.full_like(ratio, 5.0), atol=1e-2)
    echo = Reverberate(wet=(1.0, 1.0))(examples, draws).cond["degraded"]
    assert 0.2 < float((echo - clean).square().sum() / clean.square().sum()) < 3
    both = AddNoise(snr=(5.0, 5.0))(
        Examples(examples.x, {**examples.cond, "degraded": echo}, examples.layout), draws
    )
    assert not torch.allclose(both.cond["degraded"], noisy)


def test_what_is_known_of_a_recording_is_as_much_as_was_asked(data):
    examples = data.all().laid_out(data.spec)
    view = KnownSpans(least=0.7, most=0.9, nothing=0.2, span=400)
    copy = view(examples, torch.Generator().manual_seed(0)).cond["degraded"]
    lengths = examples.cond["mask"].sum(1)
    shares = (copy != 0).sum(1) / lengths
    none = float((shares == 0).float().mean())
    assert 0.1 < none < 0.3
    rest = shares[shares > 0]
    assert float(rest.max()) < 0.31
    assert float(rest.min()) > 0.05


def test_every_row_has_a_job_and_what_it_needs(digits):
    from flowloom_audio.data import SpokenDigits

    data = SpokenDigits(digits, mix=(0.0, 0.0), prompt=0.2)
    view = FrontEnd()
    examples = data.all().laid_out(data.spec)
    told = view(examples, torch.Generator().manual_seed(0))
    assert set(told.cond["job"].tolist()) == {0, 1, 2}
    extract = told.cond["job"] == 2
    assert torch.equal(told.cond["degraded"][extract], examples.cond["degraded"][extract])
    assert not torch.equal(told.cond["degraded"][~extract], examples.cond["degraded"][~extract])
    silent = (told.cond["prompt"] == 0).all(1)
    assert torch.equal(silent, ~extract)
    with pytest.raises(IncompatibleError, match=r"set data\.mix"):
        view.spec(SpokenDigits(digits, prompt=0.2).spec)
    with pytest.raises(IncompatibleError, match=r"set data\.prompt"):
        view.spec(SpokenDigits(digits, mix=(0.0, 0.0)).spec)


def test_jobs_that_need_no_voice_are_told_silence(digits):
    from flowloom_audio.data import SpokenDigits

    data = SpokenDigits(digits, mix=(0.0, 0.0), prompt=0.2)
    told = FrontEnd(("enhance",))(data.all().laid_out(data.spec), torch.Generator().manual_seed(0))
    assert not told.cond["prompt"].any()


@pytest.mark.parametrize(
    ("window", "hop", "frames"), [(512, 128, 1), (512, 128, 2), (512, 64, 4), (256, 128, 1)]
)
def test_griffin_lim_makes_a_sound_of_any_number_of_frames(window, hop, frames):
    codec = LogMel(Spec((4000,), rate=8000), bands=16, window=window, hop=hop)
    tone = torch.sin(torch.arange(4096) * 0.3)[None]
    states = codec.standardised(codec.mel(tone))[:, :frames]
    wave = codec.decode(Examples(states)).x
    assert wave.shape == (1, frames * hop)
    assert float(wave.abs().max()) > 0.05


def test_windows_are_even():
    with pytest.raises(ValueError, match="window must be even and at least 4, got 255"):
        Mel(8000, 8, 255, 100)
