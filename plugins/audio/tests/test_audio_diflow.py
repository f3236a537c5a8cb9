"""DiFlow-TTS: the mapper, the denoiser and its losses by their formulas, the toy by its law."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.geometry import Discrete
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.paths import MixturePath
from flowloom.schedules import Polynomial
from flowloom.solvers import CTMCEuler
from flowloom.sources import Mask, Uniform
from flowloom.spec import Condition, Spec
from flowloom_audio.diflow import (
    FactorisedDenoiser,
    FactorisedFlow,
    FactorisedTokens,
    StreamPictures,
    StreamsJudge,
    TokenByToken,
)
from flowloom_audio.diflow.mapper import fitted, regulated
from flowloom_registry.cli import main
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

DATA = FactorisedTokens(40)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def path_of(vocab=32):
    space = Discrete(vocab)
    return MixturePath(space, Polynomial(2.0), Mask(space))


def made(spec=DATA.spec, content=1, **more):
    torch.manual_seed(0)
    objective = FactorisedFlow(
        spec, path_of(spec.vocab), content=content, embed=8, width=16, hidden=16, heads=2
    )
    network = FactorisedDenoiser(
        spec.plus(objective.conditions()), content=content, width=16, depth=1, heads=2, embed=8, **more
    )
    for parameter in network.parameters():  # zeros have moved
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=draws(1)))
    return objective, network


def batch_of(n=6, spec=DATA.spec, data=DATA):
    examples = data.take(torch.arange(n))
    x1 = examples.x
    cond = spec.told(examples.cond)
    x0 = torch.full_like(x1, spec.vocab)
    return Batch(x0, x1, cond, Layout.of(spec, cond))


def test_symbols_are_repeated_as_long_as_they_last():
    durations = torch.tensor([[2, 0, 3], [1, 1, 0]])
    which, real = regulated(durations, 6)
    assert which.tolist() == [[0, 0, 2, 2, 2, 2], [0, 1, 2, 2, 2, 2]]
    assert real.sum(1).tolist() == [5, 2]
    stretched = fitted(torch.tensor([[2, 0, 3], [4, 4, 0]]), torch.tensor([10, 3]))
    assert stretched.tolist() == [[4, 0, 6], [2, 1, 0]]


def test_the_loss_is_the_sum_of_the_three():
    objective, network = made()
    batch = batch_of()
    found = objective.loss(network, batch, Step(generator=draws(3)))
    x, real, text = batch.x1, batch.cond["mask"], batch.cond["text"]
    encoded, known = objective.mapper.read(text)
    embeds, logits = objective.mapper.speak(encoded, batch.cond["durations"].long(), x.shape[1])
    said = objective.mapper.log_durations(encoded, known)
    lasting = (torch.log(batch.cond["durations"] + 1) - said)[known].square().mean()
    content = F.cross_entropy(logits[:, :, 0][real], x[..., 1][real])
    t = objective.times.sample(len(x), _draw(x, 3))
    # The same draws as the objective's: times first, then the path.
    generator = draws(3)
    torch.rand(len(x), generator=generator)
    x_t = path_of().sample(batch.x0, Layout(real=real).fill(x), t, generator=generator).x_t
    x_t = torch.where(torch.tensor([False, True, False, False, False]), x, x_t)
    answer = network(x_t, t, **batch.cond, spoken=embeds.flatten(2))
    nats = F.cross_entropy(answer.flatten(0, 2), x.flatten(), reduction="none").view(x.shape)
    counted = real[..., None] & torch.tensor([True, False, True, True, True])
    rows = (nats * (counted & (x_t == 32))).sum((1, 2)) / counted.sum((1, 2))
    flow = rows.mean()
    assert torch.allclose(found.parts["duration"], lasting, atol=1e-5)
    assert torch.allclose(found.parts["content"], content, atol=1e-5)
    assert torch.allclose(found.parts["cross_entropy"], flow, atol=1e-5)
    assert torch.allclose(found.total, 0.5 * lasting + content + flow, atol=1e-5)


def _draw(x, seed):
    from flowloom.draw import Draw

    return Draw.like(x, draws(seed))


def test_content_is_given_and_never_made_by_the_flow():
    objective, network = made()
    batch, seen = batch_of(), []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    objective.loss(network, batch, Step(generator=draws()))
    real = batch.cond["mask"]
    assert torch.equal(seen[0][..., 1][real], batch.x1[..., 1][real])
    others = seen[0][..., [0, 2, 3, 4]][real]
    assert 0.2 < float((others == 32).double().mean()) < 0.98
    logits = network(seen[0], torch.full((6,), 0.5), **batch.cond, spoken=torch.randn(6, 48, 8))
    assert bool((logits[:, :, 1] == 0).all())
    other = seen[0].clone()
    other[..., 1] = (other[..., 1] + 1) % 32
    spoken = torch.randn(6, 48, 8, generator=draws())
    same = [network(x, torch.full((6,), 0.5), **batch.cond, spoken=spoken) for x in (seen[0], other)]
    assert torch.equal(*same)


def test_the_flow_teaches_the_mapper():
    objective, network = made()
    objective.weights = (0.0, 0.0, 1.0)
    found = objective.loss(network, batch_of(), Step(generator=draws()))
    found.total.backward()
    assert float(objective.mapper.table.weight.grad.abs().sum()) > 0
    assert float(objective.mapper.says[0].weight.grad.abs().sum()) == 0


def test_heads_are_apart_or_one_for_all():
    _, network = made()
    x, spoken = batch_of().x1, torch.randn(6, 48, 8, generator=draws())
    cond = {**batch_of().cond, "spoken": spoken}
    before = network(x, torch.full((6,), 0.3), **cond)
    network.answers[0][2].bias.data += 1.0 * torch.randn(32, generator=draws())  # of prosody
    after = network(x, torch.full((6,), 0.3), **cond)
    real = cond["mask"]
    changed = (after - before).detach().abs().amax(-1)[real].amax(0)
    assert float(changed[0]) > 0.1
    assert changed[1:].tolist() == [0, 0, 0, 0]
    _, shared = made(head="shared")
    assert [head[2].out_features for head in network.answers] == [32, 96]
    assert [head[2].out_features for head in shared.answers] == [32]
    before = shared(x, torch.full((6,), 0.3), **cond)
    shared.answers[0][2].bias.data += torch.randn(32, generator=draws())
    changed = (shared(x, torch.full((6,), 0.3), **cond) - before).detach().abs().amax(-1)[real].amax(0)
    assert [float(c) > 0.1 for c in changed] == [True, False, True, True, True]


def test_a_prompt_is_heard_and_its_content_is_not():
    _, network = made()
    batch = batch_of()
    cond = {**batch.cond, "spoken": torch.randn(6, 48, 8, generator=draws())}
    t = torch.full((6,), 0.4)
    plain = network(batch.x1, t, **cond)
    prompt = cond["prompt"].clone()
    prompt[..., 1] = 5
    assert torch.equal(network(batch.x1, t, **{**cond, "prompt": prompt}), plain)
    prompt[..., 3] = (prompt[..., 3] + 1) % 32
    moved = (network(batch.x1, t, **{**cond, "prompt": prompt}) - plain).detach().abs().max()
    assert float(moved) > 1e-4


def test_a_solve_makes_up_lengths_and_content_and_keeps_them():
    objective, network = made()
    flow = Flow(network, spec=DATA.spec, path=path_of(), objective=objective, solver=CTMCEuler(3))
    batch = batch_of()
    told = {name: batch.cond[name] for name in ("text", "prompt")}
    found = flow.solve(6, cond=told, seed=0)
    real = found.cond["mask"]
    encoded, known = objective.mapper.read(told["text"])
    lasting = ((objective.mapper.log_durations(encoded, known).exp() - 1).round().clamp(1, 48) * known).sum(1)
    assert torch.equal(real.sum(1), lasting.clamp(max=48).long())
    assert torch.equal(found.x[..., 1][real], found.cond["content"][..., 1][real])
    assert bool((found.x < 32).all())
    assert found.nfe == 3
    # Durations and marks that are given are kept.
    given = flow.solve(6, cond={**told, "durations": batch.cond["durations"]}, seed=0).cond["mask"]
    assert torch.equal(given, batch.cond["mask"])
    short = torch.arange(48) < torch.tensor([[9]] * 6)
    assert torch.equal(flow.solve(6, cond={**told, "mask": short}, seed=0).cond["mask"], short)


def test_a_solve_tells_the_durations_that_it_made_up():
    """For a picture of who says what when, and never to the network."""
    untimed = {name: one for name, one in DATA.spec.conditions.items() if name != "durations"}
    spec = replace(DATA.spec, conditions=untimed)
    objective, network = made(spec)
    flow = Flow(network, spec=spec, path=path_of(), objective=objective, solver=CTMCEuler(2))
    batch = batch_of(4)
    found = flow.solve(4, cond={name: batch.cond[name] for name in ("text", "prompt")}, seed=0).cond
    assert torch.equal(found["durations"].sum(1).long(), found["mask"].sum(1))
    assert objective.conditions()["durations"].role == "judged"
    assert "durations" not in made()[0].conditions()  # the data's own


def test_durations_are_found_where_nobody_says_them():
    """Symbols that foretell their own tokens are aligned with them, whatever lies on the diagonal."""
    spec = Spec(
        (12, 2),
        vocab=4,
        conditions={"mask": Condition(shape=(12,), role="real"), "text": Condition(5, (3,))},
    )
    objective, _ = made(spec, content=0)
    text, real = torch.tensor([[1, 2, 3], [2, 1, 0]]), torch.arange(12) < torch.tensor([[12], [8]])
    tokens = torch.zeros(2, 12, 2, dtype=torch.long)
    tokens[0, :, 0] = torch.tensor([1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3])
    tokens[1, :8, 0] = torch.tensor([2, 2, 2, 2, 2, 1, 1, 1])
    told = torch.full((2, 3, 1, 4), -8.0)
    for row in range(2):
        for symbol in range(3):
            told[row, symbol, 0, text[row, symbol]] = -0.1
    objective.mapper.foretold = lambda encoded: told
    durations, cost = objective._durations({"text": text}, torch.zeros(2, 3, 16), tokens, real)
    assert durations.tolist() == [[2, 7, 3], [5, 3, 0]]
    assert float(cost) == pytest.approx(0.1, abs=1e-5)


def test_tokens_one_by_one_are_drawn_from_the_joint_law():
    """Two tokens that always agree: drawn at once they do not, one after another they do."""
    space = Discrete(2)
    path = MixturePath(space, Polynomial(2.0), Mask(space))

    def agreeing(x, t, **cond):
        other = x.flip(-1)
        known = F.one_hot(other.clamp(max=1), 2) * 40.0
        return torch.where((other < 2)[..., None], known, torch.zeros(2))

    from flowloom.fields import NetworkField

    network = torch.nn.Module()
    network.forward = agreeing
    field = NetworkField(network, "posterior", path)
    x0 = torch.full((400, 1, 2), 2)
    one = TokenByToken().solve(field, x0, generator=draws())
    assert bool((one.x[..., 0] == one.x[..., 1]).all())
    assert one.nfe == 2
    assert 0.4 < float(one.x.double().mean()) < 0.6
    at_once = CTMCEuler(1).solve(field, x0, generator=draws()).x
    assert 0.4 < float((at_once[..., 0] == at_once[..., 1]).double().mean()) < 0.6
    layout = Layout(real=torch.tensor([[True]] * 400), given=torch.tensor([[[True, False]]] * 400))
    held = TokenByToken().solve(field, torch.where(torch.tensor([True, False]), 1, x0), layout=layout)
    assert bool((held.x == 1).all())
    assert held.nfe == 1
    with pytest.raises(IncompatibleError, match="use source: mask"):
        TokenByToken().solve(
            NetworkField(network, "posterior", MixturePath(space, source=Uniform(space))), x0
        )


def test_the_toy_keeps_its_law_and_the_judge_sees_what_breaks_it():
    real = DATA.take(torch.arange(40)).laid_out(DATA.spec)
    judge = StreamsJudge()
    judge.fit(DATA)
    good = judge(real, real)
    assert good == {
        "speaker_accuracy": 1.0,
        "lawless": 0.0,
        "text_accuracy": 1.0,
        "bigram_distance": 0.0,
    }
    assert bool((real.cond["durations"].sum(1) == real.cond["mask"].sum(1)).all())
    x, frames = real.x.clone(), torch.arange(48) % 4 == 0
    x[..., 4] = torch.where(frames, (x[..., 4] + 1) % 32, x[..., 4])
    assert 0.2 < judge(replace(real, x=x), real)["lawless"] < 0.3
    other = replace(real, cond={**real.cond, "speaker": (real.cond["speaker"] + 1) % 4})
    assert judge(other, real)["speaker_accuracy"] == 0
    assert (
        judge(replace(real, cond={**real.cond, "text": real.cond["text"].flip(0)}), real)["text_accuracy"]
        < 0.2
    )
    mixed = real.x[torch.randperm(40, generator=draws())]
    assert (
        judge(replace(real, x=torch.cat([mixed[..., :1], real.x[..., 1:]], -1)), real)["bigram_distance"]
        > 0.2
    )
    with pytest.raises(DataError, match="multiple of 4 from 30"):
        FactorisedTokens(vocab=31)


def test_streams_are_pictures():
    real = DATA.take(torch.arange(3)).laid_out(DATA.spec)
    shown = StreamPictures(DATA.spec)
    (page,) = shown.samples(real, DATA.take(torch.arange(3, 6)).laid_out(DATA.spec))
    assert page.data.count(b"data:image/png;base64,") == 6
    states = [torch.full_like(real.x, 32), real.x]
    (page,) = shown.trajectory([0.0, 1.0], states)
    assert page.data.count(b"data:image/png;base64,") == 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        IncompatibleError, match=r"for tokens \(frames, streams\), and the data is real values"
    ):
        FactorisedFlow(Spec((4, 3), conditions={"text": Condition(3, (2,))}), path_of())
    with pytest.raises(IncompatibleError, match="1 prosody and 4 content streams, which leaves 0 of the 5"):
        FactorisedDenoiser(DATA.spec, content=4)
    with pytest.raises(IncompatibleError, match=r"'text', symbols .*; the data have: none"):
        FactorisedFlow(Spec((4, 3), vocab=32), path_of())
    space = Discrete(32)
    with pytest.raises(IncompatibleError, match="use source: mask"):
        FactorisedFlow(DATA.spec, MixturePath(space, source=Uniform(space)))
    objective, _ = made()
    (said,) = objective.clashes({"model": FactorisedDenoiser(DATA.spec, content=0, width=16, heads=2)})
    assert "1 prosody and 1 content streams, and the network 1 and 0" in said.message
    with pytest.raises(IncompatibleError, match="knows the law of factorised-tokens"):
        StreamsJudge().fit(_Other())


class _Other:
    spec = DATA.spec


def test_refusals_are_one_line(capsys):
    assert main(["run", "diflow-tokens", "--set", "model.content=2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "give both alike" in said
    assert "Traceback" not in said


SOUND = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Sound(Dataset):
    def __init__(self, samples: int = 265600): self.samples = samples

    @property
    def spec(self):
        n = self.samples
        told = {"mask": Condition(shape=(n,), role="real"), "text": Condition(80, (200,)),
                "prompt": Condition(shape=(48000,)), "speaker": Condition(1000)}
        return Spec((n,), conditions=told, rate=16000)

    def __len__(self): return 4
    def take(self, rows): raise NotImplementedError
    def split(self, name): return self
"""


def test_the_recipe_at_full_size_has_the_papers_parameters(tmp_path):
    """2509.09631, table 3: 164 M parameters, and 122 M with 8 blocks; the codec is not counted."""
    (tmp_path / "sound.py").write_text(SOUND)
    data = f"data={{use: '{tmp_path / 'sound.py'}:Sound'}}"
    with torch.device("meta"):
        planned, overrides = {}, [f"stages.{stage}.{data}" for stage in ("coder", "speech")]
        for one in stages_of(load_recipe("diflow-libritts", overrides=overrides)):
            planned[one.stage.name] = assemble(one, planned=planned)
    flow = planned["speech"].flow
    assert flow.spec.shape == (1328, 6)
    assert flow.spec.vocab == 1024

    def size(part):
        return sum(p.numel() for p in part.parameters())

    assert round((size(flow.model) + size(flow.objective)) / 1e6) == 164
    block = size(flow.model.blocks[0])
    assert round((size(flow.model) + size(flow.objective) - 4 * block) / 1e6) == 122


@pytest.mark.slow
def test_digits_are_spoken_in_two_stages(tmp_path, digits, monkeypatch):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    small = {
        "stages.coder.model": "{use: wave-quantiser, width: 4, strides: [8, 16], latent: 4, books: 2}",
        "stages.coder.train": "{steps: 3, batch: 4}",
        "stages.speech.model": "{use: factorised-denoiser, width: 16, depth: 1, heads: 2, embed: 8}",
        "stages.speech.objective": "{use: factorised-flow, embed: 8, width: 16, hidden: 16, heads: 2}",
        "stages.speech.solver": "{use: ctmc-euler, steps: 2}",
        "stages.speech.metrics": "[log-mel-frechet]",
        "stages.speech.tasks": "[{use: synthesise, metrics: [log-mel-frechet]}]",
        "stages.speech.train": "{steps: 3, batch: 4}",
        "stages.speech.evaluate": "{n: 4, reference: 4, questions: 3, baseline: none, sweep_nfe: []}",
        "stages.speech.sample": "{n: 2}",
    }
    words = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", "diflow-digits", *words, "--out", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('src="data:audio/wav;base64,') >= 4
    assert main(["task", str(tmp_path / "run"), "synthesise", "seven", "-o", str(tmp_path / "out.wav")]) == 0
    assert (tmp_path / "out.wav").stat().st_size > 1000
