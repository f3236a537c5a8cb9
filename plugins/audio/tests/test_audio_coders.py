"""Coders of sound: the quantiser against its formulas, the loss, and the codec that a coder becomes."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.models import MLP
from flowloom.objectives import Batch, Step
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_audio.codecs import LearnedSound
from flowloom_audio.coders import ResidualQuantiser, SoundCoding, WaveAutoencoder, WaveQuantiser
from flowloom_audio.data.sound import as_wav
from flowloom_audio.renderer import AudioPlayers
from flowloom_registry.cli import main

SPEC = Spec((128,), rate=8000)
TOLD = Spec(
    (160,),
    conditions={
        "mask": Condition(shape=(160,), role="real"),
        "prompt": Condition(shape=(64,)),
        "text": Condition(4, (3,)),
    },
    rate=8000,
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def quantiser(**more):
    torch.manual_seed(0)
    model = WaveQuantiser(SPEC, 4, (4, 8), latent=4, books=2, entries=4, **more)
    waves = torch.randn(6, 128, generator=draws())
    model.train().learn(waves, draws(1))
    return model.eval(), waves


def coder(model):
    return Trained(Flow(model, spec=model.spec, objective=SoundCoding(windows=(32,))))


def test_every_book_takes_what_those_before_it_left():
    q = ResidualQuantiser(3, books=2, entries=5)
    q.book.copy_(torch.randn(2, 5, 3, generator=draws()))
    z = torch.randn(7, 3, generator=draws(1))
    first = torch.cdist(z, q.book[0]).argmin(1)
    second = torch.cdist(z - q.book[0][first], q.book[1]).argmin(1)
    tokens = q.tokens(z)
    assert torch.equal(tokens, torch.stack([first, second], 1))
    assert torch.allclose(q.vectors(tokens), q.book[0][first] + q.book[1][second])
    assert torch.allclose(q.vectors(tokens[:, :1]), q.book[0][first])
    masked = torch.stack([torch.full_like(first, 5), second], 1)
    assert torch.allclose(q.vectors(masked), q.book[1][second])  # what has not arrived adds nothing
    again, left, said = q.steps(z)
    assert torch.equal(again, tokens)
    assert torch.allclose(left[1], z - q.book[0][first])
    assert torch.allclose(said.sum(0), q.vectors(tokens))


def test_entries_are_averages_of_what_was_asked_and_the_dead_are_replaced():
    """By hand: one book, decay 0.5, two entries near the data and one far away from it."""
    q = ResidualQuantiser(1, books=1, entries=3, decay=0.5, least=0.4)
    q.book.copy_(torch.tensor([[[0.0], [10.0], [99.0]]]))
    q.counts.copy_(torch.tensor([[2.0, 2.0, 0.5]]))
    q.sums.copy_(torch.tensor([[[0.0], [20.0], [49.5]]]))
    z = torch.tensor([[1.0], [1.0], [9.0]])
    q.follow(z, draws())
    assert q.counts[0, :2].tolist() == [2.0, 1.5]  # 0.5 (2 + 2), 0.5 (2 + 1)
    assert q.book[0, :2, 0].tolist() == pytest.approx([(0.5 * 2) / 2.0, (0.5 * 20 + 0.5 * 9) / 1.5])
    assert float(q.book[0, 2, 0]) in (1.0, 9.0)  # 0.25 asked a batch: a vector of the batch
    assert float(q.counts[0, 2]) == 1.0


def test_the_decoders_gradient_passes_the_quantiser_and_commitment_holds_the_encoder():
    model, waves = quantiser(dropout=0.0)
    coded = model.learn(waves, draws(2))
    frames = model.encoded(waves)
    tokens, left, said = model.quantiser.steps(frames)
    assert torch.allclose(coded.frames, model.quantiser.vectors(tokens), atol=1e-6)
    assert torch.allclose(coded.cost, (left - said).square().mean((1, 2, 3)).sum())
    (through,) = torch.autograd.grad(coded.frames.sum(), model.encoder[0].weight)
    (plain,) = torch.autograd.grad(frames.sum(), model.encoder[0].weight)
    assert torch.allclose(through, plain, atol=1e-4)
    assert not any(name.startswith("quantiser") for name, _ in model.named_parameters())
    before = model.quantiser.book.clone()
    model.learn(waves, draws(3))
    assert torch.equal(model.quantiser.book, before)  # evaluation moves nothing
    model.train().learn(waves, draws(3))
    assert not torch.equal(model.quantiser.book, before)


def test_quantiser_dropout_decodes_from_the_first_books():
    model, waves = quantiser(dropout=0.99)
    coded = model.train().learn(waves.repeat(20, 1), draws(4)).frames
    tokens = model.frames(waves.repeat(20, 1))
    whole, first = model.quantiser.vectors(tokens), model.quantiser.vectors(tokens[..., :1])
    rows = [
        [torch.allclose(c, v, atol=1e-5) for v in (f, w)] for c, f, w in zip(coded, first, whole, strict=True)
    ]
    assert all(any(row) for row in rows)
    assert 30 < sum(row[0] for row in rows) < 90  # of 120: one book or two


def test_the_divergence_is_that_of_gaussians():
    torch.manual_seed(0)
    model, waves = WaveAutoencoder(SPEC, 4, (4, 8), latent=3), torch.randn(5, 128, generator=draws())
    mean, log_var = model.posterior(waves)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0.0, 1.0)).mean()
    coded = model.learn(waves, draws(1))
    assert torch.allclose(coded.cost, wanted, atol=1e-5)
    noise = torch.randn(mean.shape, generator=draws(1))
    assert torch.allclose(coded.frames, mean + (log_var / 2).exp() * noise, atol=1e-5)
    assert torch.equal(model.frames(waves), mean)


@pytest.mark.parametrize("strides", [(2, 5), (4, 8), (3,)])
def test_frames_stand_for_a_hop_each(strides):
    hop = 1
    for stride in strides:
        hop *= stride
    model = WaveAutoencoder(Spec((4 * hop,)), 4, strides, latent=2)
    waves = torch.randn(2, 7 * hop)
    assert model.frames(waves).shape == (2, 7, 2)
    assert model.decode(model.frames(waves)).shape == waves.shape


def test_the_loss_falls_as_sound_comes_near_and_weighs_the_bottleneck():
    model, waves = quantiser(dropout=0.0)
    near, far = waves + 0.1 * torch.randn(6, 128, generator=draws(5)), torch.randn(6, 128, generator=draws(6))

    class Says(WaveQuantiser):
        def decode(self, frames):
            return self.answer

    model.__class__ = Says
    losses = {}
    for name, answer in {"same": waves, "near": near, "far": far, "turned": -waves}.items():
        model.answer = answer
        found = SoundCoding(windows=(32, 64)).loss(model, Batch(waves, waves), Step(generator=draws()))
        losses[name] = float(found.total.detach())
    cost = float(model.learn(waves, draws()).cost.detach())
    assert losses["same"] == pytest.approx(0.02 * cost, rel=1e-3)
    assert losses["same"] < losses["near"] < losses["far"]
    # Turned over it has the same spectra: the waveform alone tells the two apart.
    assert losses["turned"] - losses["same"] == pytest.approx(2 * float(waves.abs().mean()), rel=1e-3)


def test_a_trained_quantiser_is_a_codec_of_tokens():
    model, _ = quantiser()
    codec = LearnedSound(TOLD, coder(model), voice="prompt")
    x, prompt = torch.randn(3, 160, generator=draws(7)), torch.randn(3, 64, generator=draws(8))
    mask = torch.arange(160) < torch.tensor([[160], [64], [33]])
    examples = Examples(x, {"mask": mask, "prompt": prompt, "text": torch.ones(3, 3, dtype=torch.long)})
    states = codec.encode(examples)
    assert codec.spec.shape == (5, 2)
    assert codec.spec.vocab == 4
    assert states.x.dtype == torch.int64
    assert states.cond["mask"].sum(1).tolist() == [5, 2, 2]
    assert torch.equal(states.cond["prompt"], model.frames(prompt))
    assert codec.spec.conditions["prompt"] == Condition(4, (2, 2))
    said = model.encoded(prompt)
    assert torch.allclose(states.cond["voice"], torch.cat([said.mean(1), said.std(1, correction=0)], 1))
    back = codec.decode(states)
    assert back.x.shape == (3, 160)
    assert bool((back.x[~back.cond["mask"]] == 0).all())
    assert LearnedSound(TOLD, coder(model), books=1).encode(examples).x.shape == (3, 5, 1)
    rubbish = replace(examples, x=torch.where(mask, x, torch.tensor(9.0)))
    assert torch.equal(codec.encode(rubbish).x, codec.encode(replace(examples, x=x * mask)).x)


def test_a_trained_autoencoder_is_a_codec_of_unit_variance():
    torch.manual_seed(0)
    model = WaveAutoencoder(SPEC, 4, (4, 8), latent=3)
    codec, x = LearnedSound(SPEC, coder(model)), torch.randn(40, 128, generator=draws())
    codec.fit(Tensors(x))
    states = codec.encode(Examples(x)).x
    assert float(states.std()) == pytest.approx(1, abs=1e-3)
    assert torch.allclose(codec.decode(Examples(states)).x, model.decode(model.frames(x)), atol=1e-5)
    drawn = codec.encode(Examples(x), draws(1)).x
    assert torch.equal(drawn, codec.encode(Examples(x), draws(1)).x)
    assert not torch.equal(drawn, states)


def test_what_cannot_be_coded_is_refused():
    model, _ = quantiser()
    with pytest.raises(IncompatibleError, match="trained MLP; take one of model: wave-autoencoder"):
        LearnedSound(SPEC, Trained(Flow(MLP(SPEC))))
    with pytest.raises(IncompatibleError, match="1 to 2 codebooks, not 9"):
        LearnedSound(SPEC, coder(model), books=9)
    with pytest.raises(IncompatibleError, match="sound of 8000 Hz, and these are of 16000 Hz"):
        LearnedSound(replace(SPEC, rate=16_000), coder(model))
    with pytest.raises(IncompatibleError, match=r"a voice in 'promt', .*; there are: prompt"):
        LearnedSound(TOLD, coder(model), voice="promt")
    with pytest.raises(IncompatibleError, match="multiples of 32 samples, and the data have 130"):
        WaveAutoencoder(Spec((130,)), 4, (4, 8))
    with pytest.raises(IncompatibleError, match="for waveforms"):
        WaveAutoencoder(Spec((3, 4)), 4, (4, 8))


def test_another_network_is_refused_in_one_line(capsys):
    assert main(["run", "toy-coder", "--set", "model=mlp"]) == 2
    said = capsys.readouterr().err
    assert "MLP is none; take model: wave-autoencoder or wave-quantiser" in said.replace("\n", " ")
    assert "Traceback" not in said


def test_a_coder_is_heard_beside_what_it_was_given():
    """What is shown is the network's own answer to each recording; a flow that draws shows none."""
    spec = Spec((256,), rate=8000)
    model = WaveAutoencoder(spec, 4, (4, 8), latent=4)
    view, real = AudioPlayers(spec), Examples(torch.randn(3, 256))
    (figure,) = view.flow(Flow(model, objective=SoundCoding()), real)
    with torch.no_grad():
        coded = model.eval()(real.x, torch.zeros(3))
    sounds = [
        base64.b64encode(as_wav(wave, 8000)) for pair in zip(real.x, coded, strict=True) for wave in pair
    ]
    assert re.findall(rb"data:audio/wav;base64,([^\"]+)", figure.data) == sounds
    assert view.flow(Flow(MLP(spec, width=4)), real) == []


@pytest.mark.slow
def test_a_coder_is_heard_in_its_report(tmp_path):
    small = ["data={use: toy-speech, voices: 2, takes: 3}", "model.width=4", "model.latent=4"]
    words = [word for said in (*small, "train.steps=1", "train.batch=2") for word in ("--set", said)]
    assert main(["run", "toy-coder", *words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "through the coder" in page
    assert page.count('src="data:audio/wav;base64,') >= 4


@pytest.mark.slow
def test_speech_is_made_in_the_latents_of_the_stage_before(tmp_path):
    small = {
        "data": "{use: toy-speech, prompt: 0.256, voices: 2, takes: 3}",
        "stages.autoencoder.model": "{use: wave-autoencoder, width: 4, strides: [8, 16], latent: 4}",
        "stages.autoencoder.train": "{steps: 3, batch: 4}",
        "stages.speech.model": "{use: speech-transformer, width: 16, depth: 1, heads: 2, ignore: [speaker]}",
        "stages.speech.metrics": "[log-mel-frechet]",
        "stages.speech.tasks": "[]",
        "stages.speech.solver": "{use: euler, steps: 1}",
        "stages.speech.train": "{steps: 2, batch: 4}",
        "stages.speech.evaluate": "{n: 4, reference: 4, baseline: none, sweep_nfe: []}",
        "stages.speech.sample": "{n: 2}",
    }
    words = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", "latent-speech", *words, "--out", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert 'src="data:audio/wav;base64,' in page
