"""Metrics, prompts, the renderer, the rows of the plugin."""

from __future__ import annotations

import math

import pytest
import torch

import flowloom as fl
from flowloom import views
from flowloom.data import Examples, Tensors
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.geometry import Discrete
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.objectives import PosteriorMatching, Step
from flowloom.paths import AffinePath, MixturePath
from flowloom.solvers import CTMCEuler, TauLeaping
from flowloom.sources import Mask, Uniform
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.plugins.discovery import catalog
from flowloom_sequences.data import Text
from flowloom_sequences.elbo import GeneralizedKL
from flowloom_sequences.languages import Dyck, Markov, MotifDNA
from flowloom_sequences.metrics import (
    JudgePerplexity,
    LanguageGap,
    MotifRecovery,
    NGramDistance,
    NGramModel,
    Validity,
)
from flowloom_sequences.metrics.judge import train_judge
from flowloom_sequences.metrics.ngram import jensen_shannon
from flowloom_sequences.prompts import Infill, encode_prompt
from flowloom_sequences.renderer import SequenceText
from flowloom_sequences.simplex import DirichletPath, DirichletSource, OneHot, SimplexEuler

DATA = Markov(vocab=6, order=1, length=16, n=4000)
PROMPTS = views.Mask(most=0.8, prefix=0.5, name="prompt_mask")


def test_language_gap_is_zero_for_the_language_and_known_for_noise():
    metric = LanguageGap()
    metric.fit(DATA)
    real = DATA.split("test").all()
    values = metric(real, DATA.all())
    assert abs(values["language_gap"]) < 0.02
    assert abs(values["entropy_drop"]) < 0.01
    noise = torch.randint(6, (4000, 16), generator=torch.Generator().manual_seed(0))
    wanted = -float(DATA.language.table.log().mean()) * 15 / 16 + math.log(6) / 16
    assert abs(metric(Examples(noise), real)["language_nll"] - wanted) < 0.15
    with pytest.raises(IncompatibleError, match="judge-perplexity"):
        metric.fit(fl.data.Moons())


def test_validity_and_motifs():
    dyck = Dyck(length=8, n=500)
    metric = Validity()
    metric.fit(dyck)
    x = dyck.all().x
    broken = x.clone()
    broken[:250, 0] = 1
    assert metric(Examples(broken), dyck.all())["validity"] == 0.5
    dna = MotifDNA(classes=3, n=2000, purity=0.95)
    recovery = MotifRecovery()
    recovery.fit(dna)
    real = dna.all()
    values = recovery(Examples(real.x, {"label": (real.cond["label"] + 1) % 3}), real)
    assert values["real_class_accuracy"] > 0.95
    assert values["class_accuracy"] < 0.05
    assert abs(values["real_consensus"] - 0.95**8) < 0.05
    with pytest.raises(IncompatibleError, match="motif-dna"):
        recovery.fit(dyck)


def test_jensen_shannon_by_hand():
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 2, 2])
    assert abs(jensen_shannon(a, b) - math.sqrt(0.5)) < 1e-12
    assert jensen_shannon(a, a) == 0
    assert jensen_shannon(a, b + 5) == 1
    values = NGramDistance((1, 2))(DATA.split("test").all(), DATA.all())
    assert values["js_2"] < 2 * values["real_js_2"]
    padded = torch.cat([DATA.all().x, torch.zeros(4000, 4, dtype=torch.long)], 1)
    mask = (torch.arange(20) < 16).expand(4000, -1)
    assert NGramDistance((2,))(Examples(padded, layout=Layout(mask)), DATA.all())["js_2"] == 0


def test_ngram_model_sums_to_one_and_learns_the_chain():
    x = DATA.all().x
    model = NGramModel(2, 6).fit(x, torch.ones_like(x, dtype=torch.bool))
    context = torch.tensor([[2, k] for k in range(6)])
    assert abs(float(model.log_prob(context)[:, 1].exp().sum()) - 1) < 1e-9
    assert torch.allclose(model.log_prob(context)[:, 1].exp(), DATA.language.table[2], atol=0.03)
    test = DATA.split("test").all().x
    nats = -float(model.log_prob(test).mean())
    assert abs(nats - DATA.language.entropy() / 16) < 0.03
    draws = model.sample(2000, 16, torch.Generator().manual_seed(0))
    gap = -float(DATA.language.log_prob(draws).mean()) / 16 - DATA.language.entropy() / 16
    assert abs(gap) < 0.06


def test_judges_rank_real_text_first():
    real = DATA.split("test").take(torch.arange(300))
    noise = Examples(torch.randint(6, (300, 16)))
    for metric in (JudgePerplexity("trigram"), JudgePerplexity("transformer", steps=60)):
        metric.fit(DATA)
        values = metric(noise, real)
        assert values["real_perplexity"] < 0.7 * values["judge_perplexity"]
        assert values["trigram_perplexity"] < 1.2 * values["real_perplexity"]
        assert metric(noise, real) == values
        assert abs(values["entropy"] - math.log(6)) < 0.01
    given = JudgePerplexity(judge=train_judge(DATA.split("judge"), steps=60, batch=32, seed=0))
    given.fit(DATA)
    assert given(noise, real) == values
    with pytest.raises(IncompatibleError, match="the run given has objective PosteriorMatching; take one"):
        JudgePerplexity(judge=Trained(fl.Flow(fl.models.MLP(DATA.spec, width=8))))
    with pytest.raises(DataError, match="split 'judge'"):
        JudgePerplexity().fit(fl.data.Tensors(torch.randint(5, (10, 4))))


def discrete_flow(data, mask: bool = True, **objective) -> fl.Flow:
    torch.manual_seed(0)
    space = Discrete(data.spec.vocab)
    source = Mask(space) if mask else Uniform(space)
    path = MixturePath(space, source=source)
    return fl.Flow(
        MLP(data.spec, width=48, depth=2),
        spec=data.spec,
        geometry=space,
        source=source,
        objective=PosteriorMatching(path, **objective),
        solver=TauLeaping(8),
    )


@pytest.mark.parametrize("mask", [True, False])
def test_infilling_keeps_the_prompt(mask):
    flow = discrete_flow(DATA, mask)
    assert flow.path.absorbing is mask
    assert flow.objective.masked_only is mask
    flow.fit(DATA, steps=30, batch=64)
    prompt = encode_prompt("abc__d", flow.spec, n=20)
    answer = Infill()(flow, prompt, seed=1).x
    assert answer.shape == (20, 16)
    assert (answer[:, [0, 1, 2, 5]] == torch.tensor([0, 1, 2, 3])).all()
    assert answer[:, 3].unique().numel() > 1
    assert int(answer.max()) < 6
    assert torch.equal(answer, Infill()(flow, prompt, seed=1).x)
    with pytest.raises(ShapeError, match="more than the 16"):
        encode_prompt("a" * 17, flow.spec)
    with pytest.raises(DataError, match="'z' at position 0"):
        encode_prompt("z", flow.spec)
    bad = Examples(torch.full((1, 16), 9), {"prompt_mask": torch.ones(1, 16, dtype=torch.bool)})
    with pytest.raises(ShapeError, match="id 9"):
        Infill()(flow, bad)
    with pytest.raises(ShapeError, match="prompt_mask"):
        Infill()(flow, Examples(torch.zeros(1, 16, dtype=torch.long)))


def test_the_beginning_of_a_row_is_an_example_of_a_prompt():
    data = Markov(length=16)
    words = Infill(hole="?").example(data)
    assert words.endswith("????")
    read = Infill(hole="?").read(words, data, 1)
    row = data.take(torch.arange(1)).x[0]
    assert torch.equal(read.x[0, :8], row[:8])
    assert read.cond["prompt_mask"][0].tolist() == [True] * 8 + [False] * (read.x.shape[1] - 8)


def test_an_example_of_a_prompt_can_be_typed(tmp_path):
    """Four bytes of a row end within its second character; the third row's own underscore is no hole."""
    for words, begun in (("日本語", "日"), ("a_b" * 9, "a")):
        (tmp_path / "corpus.txt").write_text(words * 200)
        data = Text(tmp_path / "corpus.txt", level="bytes", length=8, stride=8)
        assert Infill().example(data) == begun + "____"
        assert len(Infill().read(begun + "____", data, 2)) == 2
    assert Infill().example(Tensors(torch.randn(4, 2, 3))) == ""


def test_infilling_on_the_simplex():
    codec = OneHot(DATA.spec)
    for path in (DirichletPath(), AffinePath()):
        flow = fl.Flow(
            MLP(codec.spec, width=32),
            codec=codec,
            source=DirichletSource(),
            objective=PosteriorMatching(path),
            solver=SimplexEuler(6),
        )
        answer = Infill()(flow, encode_prompt("ab_c", codec.spec, n=5)).x
        assert (answer[:, [0, 1, 3]] == torch.tensor([0, 1, 2])).all()


def test_prompts_are_held_clean_by_simplex_flows_that_know_them():
    data = views.Viewed(DATA, [PROMPTS])
    codec, seen = OneHot(data.spec), []

    class Spy(MLP):
        def forward(self, x, t, /, **cond):
            seen.append((x, cond["prompt_mask"]))
            return super().forward(x, t, **cond)

    flow = fl.Flow(
        Spy(codec.spec, width=16),
        codec=codec,
        source=DirichletSource(),
        objective=PosteriorMatching(DirichletPath()),
        solver=SimplexEuler(4),
    )
    flow.fit(data, steps=2, batch=8)
    for x, given in seen:
        assert given.any()
        assert (x[given].amax(-1) == 1).all()
    prompt = encode_prompt("ab_c", codec.spec, n=5)
    seen.clear()
    answer = Infill()(flow, prompt)
    assert (answer.x[:, [0, 1, 3]] == torch.tensor([0, 1, 2])).all()
    assert all(torch.equal(x[given].argmax(-1), prompt.x[given]) for x, given in seen)
    assert torch.equal(answer.layout.given, prompt.cond["prompt_mask"])
    examples = data.take(torch.arange(5))
    drawn = flow.sample(5, seed=0, **examples.cond)
    assert torch.equal(drawn[examples.cond["prompt_mask"]], examples.x[examples.cond["prompt_mask"]])


def test_training_on_prompts_ignores_what_is_given():
    data = views.Viewed(DATA, [PROMPTS])
    examples = data.take(torch.arange(500))
    given = examples.cond["prompt_mask"]
    assert torch.equal(data.take(torch.tensor([7])).cond["prompt_mask"][0], given[7])
    assert 0.3 < float(given.double().mean()) < 0.5
    flow = discrete_flow(data, mask=False)
    layout = Layout.of(data.spec, examples.cond)
    seen = []

    def network(logits):
        def answer(x, t, **cond):
            seen.append(x)
            return logits

        return answer

    batch = fl.objectives.Batch(flow.source.sample((500, 16)), examples.x, examples.cond, layout)
    logits = torch.randn(500, 16, 6)
    spoiled = torch.where(given[..., None], torch.randn(500, 16, 6), logits)
    losses = [
        flow.objective.loss(network(answer), batch, Step(generator=torch.Generator().manual_seed(0))).total
        for answer in (logits, spoiled)
    ]
    assert torch.equal(seen[0][given], examples.x[given])
    assert torch.allclose(*losses)
    flow.fit(data, steps=3, batch=16)


def test_the_bound_is_a_loss():
    flow = discrete_flow(DATA)
    objective = GeneralizedKL(flow.path)
    generator = torch.Generator().manual_seed(0)
    x1 = DATA.take(torch.arange(64)).x
    batch = fl.objectives.Batch(flow.source.sample((64, 16)), x1)
    loss = objective.loss(flow.model, batch, Step(generator=generator))
    loss.total.backward()
    assert loss.total.item() > 0
    with pytest.raises(IncompatibleError, match="path: mixture"):
        GeneralizedKL(AffinePath())


def test_noise_prediction_is_another_target():
    flow = discrete_flow(DATA, mask=False, predict="source")
    assert flow.objective.kind == "source-posterior"
    flow.fit(DATA, steps=5, batch=32)
    back = CTMCEuler(4).solve(flow.field(), DATA.take(torch.arange(8)).x, span=(1.0, 0.0))
    assert back.x.shape == (8, 16)


def test_renderer_escapes_and_marks():
    spec = Spec((4,), vocab=4, tokens=("<", "&", "a", "\n"))
    renderer = SequenceText(spec)
    x = torch.tensor([[0, 1, 2, 4]])
    given = torch.tensor([[True, False, False, False]])
    page = renderer.samples(Examples(x, layout=Layout(given=given)), Examples(x))[0].data.decode()
    assert "&lt;" in page
    assert "&amp;" in page
    assert "underline" in page
    assert "·" in page
    dna = MotifDNA(n=20)
    figures = SequenceText(dna.spec).samples(dna.all(), dna.all())
    assert [f.mime for f in figures] == ["text/html", "text/html"]
    assert b"<svg" in figures[1].data
    frames = SequenceText(spec).trajectory(
        [0.0, 0.5, 1.0], [torch.full((2, 4), 4), x.expand(2, -1), x.expand(2, -1)]
    )
    assert frames[0].data.count(b"<tr>") == 6
    rows = torch.rand(2, 4, 4)
    assert b"opacity" in SequenceText(spec).samples(Examples(rows), Examples(rows))[0].data


FLOWS = ["discrete-flow", "discrete-flow-uniform", "dirichlet-flow", "linear-flow", "catflow"]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        *(("markov", [flow]) for flow in FLOWS),
        *((name, []) for name in ("dyck", "dirichlet-toy", "dna-guided")),
    ],
)
def test_recipes_build_and_take_two_steps(name, layers):
    built = build(load_recipe(name, layers=layers))
    parts = {
        k: built.get(k) for k in ("geometry", "source", "path", "objective", "solver", "codec", "guidance")
    }
    flow = fl.Flow(built["model"], spec=(built.get("codec") or built["data"]).spec, **parts)
    flow.fit(built["data"], steps=2, batch=8)
    cond = {"label": 1} if name == "dna-guided" else {}
    flow.solver.steps = 3
    x = flow.sample(4, seed=0, **cond)
    assert x.shape == (4, *built["data"].spec.shape)
    assert x.dtype == torch.long


def test_one_word_is_one_flow():
    words = {}
    for flow in FLOWS:
        built = build(load_recipe("markov", layers=[flow]))
        words[flow] = tuple(type(built.get(k)).__name__ for k in ("codec", "geometry", "source", "path"))
    assert words["discrete-flow"] == ("NoneType", "Discrete", "Mask", "MixturePath")
    assert words["catflow"] == ("OneHot", "Euclidean", "Gaussian", "AffinePath")
    assert len(set(words.values())) == len(FLOWS)
    back = build(load_recipe("markov", layers=["dirichlet-flow", "discrete-flow"])).resolved()
    assert back.split("seed:")[1] == build(load_recipe("markov")).resolved().split("seed:")[1]


def test_every_row_resolves():
    from flowloom_registry.plugins.targets import load_attribute

    rows = [row for row in catalog().rows if row.plugin.name == "sequences"]
    assert len(rows) > 30
    for row in rows:
        assert load_attribute(row.target) is not None


def test_strings_sorted_by_class_are_compared_as_shuffled_ones(monkeypatch):
    """Half of the strings are zeros and half are ones: two halves of them are alike, some of them both."""
    x = (torch.arange(40) // 20)[:, None].expand(-1, 6).clone()
    real = Examples(x)
    assert NGramDistance((1,))(real, real)["real_js_1"] == 0
    judge, seen = JudgePerplexity(kind="trigram", rows=10), []
    judge.fit(DATA)
    monkeypatch.setattr(judge, "judged", lambda x: seen.append(x) or torch.zeros(x.shape))
    judge(real, real)
    assert [float(one.double().mean()) for one in seen[:2]] == [0.5, 0.5]
