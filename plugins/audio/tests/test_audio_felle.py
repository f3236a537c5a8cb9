"""FELLE: contexts that are remembered, flows from the frame before, levels, guidance, lengths."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch.nn import functional as F

import flowloom as fl
from flowloom import Condition, Spec
from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Wrapped
from flowloom.guidance import ClassifierFree, Guidance
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.solvers import Adaptive, EulerMaruyama, Heun
from flowloom.sources import Gaussian
from flowloom_audio.felle import (
    FrameByFrame,
    FrameChain,
    FrameLanguageModel,
    FrameMatching,
    FramePictures,
    Increments,
    NextFrame,
)
from flowloom_audio.felle.heads import LEVELS

BANDS, FRAMES = 6, 7
SPEECH = Spec(
    (FRAMES, BANDS),
    conditions={
        "mask": Condition(shape=(FRAMES,), role="real"),
        "text": Condition(5, (4,)),
        "prompt": Condition(shape=(3, BANDS)),
        "speaker": Condition(2),
    },
)


def network(spec=SPEECH, seed=0, **settings):
    torch.manual_seed(seed)
    model = FrameLanguageModel(spec, **{"width": 16, "depth": 2, "heads": 2, "head_depth": 1, **settings})
    for p in model.parameters():  # nothing is zero
        p.data += 0.1 * torch.randn_like(p)
    return model.eval()


def asked(n=3):
    draws = torch.Generator().manual_seed(1)
    text = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 3, 2, 1]])[:n]
    prompt = torch.randn(n, 3, BANDS, generator=draws)
    return {"text": text, "prompt": prompt, "speaker": torch.tensor([0, 1, 1])[:n]}


def frames(n=3, seed=2):
    return torch.randn(n, FRAMES, BANDS, generator=torch.Generator().manual_seed(seed))


def flow_of(model, spec=SPEECH, solver=None, **settings):
    objective = FrameMatching(spec, **settings)
    return fl.Flow(model, spec=spec, objective=objective, solver=solver or FrameByFrame(2))


@pytest.mark.parametrize("null", [{}, {"null": [True, False, True]}, {"null_prompt": [False, True, True]}])
def test_frame_after_frame_is_all_at_once(null):
    model, x, cond = network(), frames(), asked() | {k: torch.tensor(v) for k, v in null.items()}
    whole = model.contexts(x, cond)
    reading, found = model.begin(), []
    for piece in (x[:, :0], x[:, :2], x[:, 2:3], x[:, 3:6]):
        found.append(model.read(piece, cond, reading))
    torch.testing.assert_close(torch.cat(found, 1), whole)


def test_a_context_knows_the_frames_before_it_alone():
    model, x, cond = network(), frames(), asked()
    other = x.clone()
    other[:, 3] += 1
    moved = (model.contexts(other, cond) - model.contexts(x, cond)).abs().amax((0, 2))
    assert (moved[:4] == 0).all()
    assert (moved[4:] > 0).all()


def test_what_is_withheld_and_padding_of_text_leave_no_trace():
    model, x, cond = network(), frames(), asked()
    for name, other in (("text", cond["text"].roll(1, 0)), ("prompt", cond["prompt"] + 1)):
        hidden = {**cond, f"null_{name}": torch.ones(3, dtype=torch.bool)}
        assert torch.equal(model.contexts(x, hidden), model.contexts(x, {**hidden, name: other}))
        assert not torch.equal(model.contexts(x, cond), model.contexts(x, {**cond, name: other}))
        missing = {k: v for k, v in cond.items() if k != name}
        torch.testing.assert_close(model.contexts(x, hidden), model.contexts(x, missing))
    longer = {**cond, "text": F.pad(cond["text"], (0, 3))}
    torch.testing.assert_close(model.contexts(x, longer), model.contexts(x, cond))


def test_the_fine_part_is_the_residual_of_the_coarse_one():
    x = frames()
    coarse, fine = LEVELS["coarse-to-fine"]
    up = torch.zeros_like(x)
    up[..., coarse.bands] = x[..., coarse.bands]
    residual = x - up
    assert torch.equal(residual[..., fine.bands], x[..., fine.bands])
    residual[..., fine.bands] = 0
    assert not residual.any()
    model, z = network(), torch.randn(3, 16)
    other = x[:, 0].clone()
    other[..., coarse.bands] += 1
    moving, t = torch.randn(3, 3), torch.rand(3)
    told = [model.velocity(1, moving, t, z, frame) for frame in (x[:, 0], other)]
    assert not torch.equal(*told)
    model = network(levels="decoupled")
    told = [model.velocity(1, moving, t, z, frame) for frame in (x[:, 0], other)]
    assert torch.equal(*told)


@pytest.mark.parametrize("prior", ["previous", "gaussian"])
@pytest.mark.parametrize("levels", LEVELS)
def test_the_loss_is_the_papers(prior, levels):
    """Row by row and frame by frame, with lengths 7, 4 and 1."""
    model, x1, x0, cond = network(levels=levels), frames(), frames(seed=5), asked()
    lengths = [7, 4, 1]
    real = torch.arange(FRAMES) < torch.tensor(lengths)[:, None]
    objective = FrameMatching(SPEECH, prior=prior, condition_dropout=0.0, last_emphasis=3.0, sigma=0.4)
    batch = Batch(x0, x1, {**cond, "mask": real}, Layout(real=real))
    loss = objective.loss(model, batch, Step(generator=torch.Generator().manual_seed(3)))
    t = torch.rand(3 * FRAMES, generator=torch.Generator().manual_seed(3)).view(3, FRAMES)
    flow = expected = last = 0.0
    for row, length in enumerate(lengths):
        own = {name: value[row : row + 1] for name, value in cond.items()}
        sums = [0.0, 0.0, 0.0]
        for i in range(length):
            z = model.read(x1[row : row + 1, :i], own, model.begin())[:, -1]
            y, before = x1[row, i], x1[row, i - 1] if i else torch.zeros(BANDS)
            start = before + 0.4 * x0[row, i] if prior == "previous" else x0[row, i]
            x_t = (1 - t[row, i]) * start + t[row, i] * y
            for number, level in enumerate(LEVELS[levels]):
                v = model.velocity(number, x_t[None, level.bands], t[row, i][None], z, y[None])[0]
                sums[0] += (v - (y - start)[level.bands]).square().mean() / length
            off = model.expected(z)[0] - y
            sums[1] += (off.abs() + off.square()).mean() / length
            p = model.last(z)[0, 0].sigmoid()
            sums[2] -= (3 * p.log() if i == length - 1 else (1 - p).log()) / length
        flow, expected, last = (a + b / 3 for a, b in zip((flow, expected, last), sums, strict=True))
    torch.testing.assert_close(loss.total, flow + 0.1 * expected + 0.01 * last)
    torch.testing.assert_close(loss.parts["flow"], flow.detach())


def test_padding_counts_nothing_and_everything_learns():
    model, x1, x0, cond = network().train(), frames(), frames(seed=5), asked()
    real = torch.arange(FRAMES) < torch.tensor([7, 4, 1])[:, None]
    objective = FrameMatching(SPEECH, draws=2, condition_dropout=0.5)

    def loss(fill):
        noise, data = (torch.where(real[..., None], v, fill) for v in (x0, x1))
        batch = Batch(noise, data, {**cond, "mask": real}, Layout(real=real))
        return objective.loss(model, batch, Step(generator=torch.Generator().manual_seed(0))).total

    first = loss(0.0)
    assert torch.equal(first, loss(math.nan))
    first.backward()
    still = [k for k, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert not still


def test_every_draw_has_its_noise_in_all_real_frames(monkeypatch):
    objective, seen = FrameMatching(SPEECH, draws=3, prior="gaussian"), []
    sample = objective.path.sample
    monkeypatch.setattr(objective.path, "sample", lambda x0, *rest: seen.append(x0) or sample(x0, *rest))
    real = torch.arange(FRAMES) < torch.tensor([[1], [2], [FRAMES]])
    cond = asked() | {"mask": real}
    batch = Batch(frames(seed=3), frames(), cond, Layout.of(SPEECH, cond))
    objective.loss(network(), batch, Step(0, 1, torch.Generator().manual_seed(0)))
    assert len(seen) == 3
    assert all((x0[real] != 0).all() and (x0[~real] == 0).all() for x0 in seen)
    assert not seen[0].equal(seen[1])


def test_only_what_is_named_is_withheld():
    objective = FrameMatching(SPEECH, condition_dropout=0.25, withhold=["prompt"])
    cond = objective._dropped(asked(), 4000, torch.Generator().manual_seed(0))
    assert "null" not in cond
    assert float(cond["null_prompt"].double().mean()) == pytest.approx(0.25, abs=0.03)


def _by_hand(model, noise, cond, steps, scale, sigma, withheld):
    """Frames by Euler steps, the language model asked anew for every one of them."""
    n, made = len(noise), torch.zeros_like(noise)
    told, null = cond, {**cond, withheld: torch.ones(n, dtype=torch.bool)}
    for i in range(noise.shape[1]):
        z = [model.read(made[:, :i], c, model.begin())[:, -1] for c in (told, null)]
        x = (made[:, i - 1] if i else 0) + sigma * noise[:, i]
        for number, level in enumerate(model.levels):
            part = x[:, level.bands]
            for k in range(steps):
                t = torch.full((n,), k / steps)
                v = [model.velocity(number, part, t, context, made[:, i]) for context in z]
                part = part + (scale * v[0] + (1 - scale) * v[1]) / steps
            made[:, i, level.bands] = part
    return made


@pytest.mark.parametrize(("names", "withheld"), [((), "null"), (("prompt",), "null_prompt")])
def test_frames_are_those_of_a_plain_loop_and_keys_are_kept(names, withheld):
    spec = Spec((FRAMES, BANDS), conditions={k: v for k, v in SPEECH.conditions.items() if k != "mask"})
    model, cond, noise = network(spec), asked(), frames(seed=9)
    flow = flow_of(model, spec, FrameByFrame(3), sigma=0.7)
    rule = ClassifierFree(1.6, conditions=names)
    reads = []
    handle = model.blocks[0].register_forward_hook(lambda _m, x, _y: reads.append(x[0].shape[1]))
    solution = flow.solve(x0=noise, guidance=rule, cond=cond)
    handle.remove()
    with torch.no_grad():
        wanted = _by_hand(model, noise, cond, 3, 1.6, 0.7, withheld)
    torch.testing.assert_close(solution.x, wanted, atol=1e-4, rtol=1e-4)
    # Both branches in one call: the conditions once, then a frame at a time.
    assert reads == [1 + 3 + 4 + 1] + [1] * (FRAMES - 1)
    assert solution.nfe == 2 * FRAMES * (1 + 2 * 3)
    plain = flow.solve(x0=noise, guidance=ClassifierFree(1.0), cond=cond)
    assert plain.nfe == FRAMES * (1 + 2 * 3)
    with torch.no_grad():
        torch.testing.assert_close(plain.x, _by_hand(model, noise, cond, 3, 1.0, 0.7, withheld))


def test_guidance_that_begins_late_reads_what_it_missed():
    spec = Spec((FRAMES, BANDS), conditions={k: v for k, v in SPEECH.conditions.items() if k != "mask"})
    flow = flow_of(network(spec), spec, FrameByFrame(4))
    given = dict(x0=frames(seed=9), cond=asked())
    late = flow.solve(guidance=ClassifierFree(1.6, interval=(0.5, 1.0)), **given)
    assert not torch.allclose(late.x, flow.solve(**given).x)
    assert torch.isfinite(late.x).all()


class Continuing(FrameLanguageModel):
    r"""The exact velocity of :math:`y_i \sim N(a y_{i-1}, s^2)` from :math:`N(y_{i-1}, \sigma^2)`."""

    a, s, sigma, hazard = 0.6, 0.5, 0.3, 0.0

    def read(self, frames, cond, reading):
        told = F.pad(frames, (0, 0, 0 if reading.frames else 1, 0)) if not reading.frames else frames
        reading.frames += frames.shape[1]
        return F.pad(told, (0, self.width - frames.shape[-1]))

    def velocity(self, level, x, t, z, frame):
        before, t = z[..., : x.shape[-1]], t[:, None]
        mean = (1 - t) * before + t * self.a * before
        variance = ((1 - t) * self.sigma) ** 2 + (t * self.s) ** 2
        slope = (t * self.s**2 - (1 - t) * self.sigma**2) / variance
        return (self.a - 1) * before + slope * (x - mean)


def test_exact_velocities_draw_the_exact_chain():
    spec = Spec((4, 2))
    model = Continuing(spec, width=4, depth=1, heads=1, levels="whole")
    flow = flow_of(model, spec, FrameByFrame(inner=Heun(12)), sigma=0.3, condition_dropout=0.0)
    x = flow.solve(4000, seed=0).x
    variance = 0.0
    for i in range(4):
        # From the first frame's start N(0, sigma^2) the map of the first frame goes to N(0, s^2).
        variance = 0.6**2 * variance + 0.25
        assert float(x[:, i].var()) == pytest.approx(variance, rel=0.06)
    slope = (x[:, 2] * x[:, 3]).mean() / x[:, 2].square().mean()
    assert float(slope) == pytest.approx(0.6, abs=0.04)
    # The other prior begins elsewhere: the same velocities then miss the law.
    wrong = flow_of(model, spec, FrameByFrame(inner=Heun(12)), prior="gaussian", condition_dropout=0.0)
    assert float(wrong.solve(4000, seed=0).x[:, 0].var()) > 1


def _lasting(logit, threshold, n=2000):
    model = network(depth=1)
    torch.nn.init.zeros_(model.last.weight)
    torch.nn.init.constant_(model.last.bias, logit)
    flow = flow_of(model, solver=FrameByFrame(1, threshold=threshold))
    cond = {name: value[:1].expand(n, *value.shape[1:]) for name, value in asked().items()}
    return flow, cond, flow.solve(n, seed=3, cond=cond)


def test_lengths_are_drawn_frame_by_frame():
    flow, cond, solution = _lasting(math.log(0.25 / 0.75), None)
    marks = solution.cond["mask"]
    lengths = marks.sum(1)
    assert torch.equal(marks, torch.arange(FRAMES) < lengths[:, None])
    for length in (1, 2, 3):
        assert float((lengths == length).double().mean()) == pytest.approx(
            0.25 * 0.75 ** (length - 1), abs=0.03
        )
    assert not solution.x[~marks].any()
    assert (_lasting(math.log(0.25 / 0.75), 0.5, 4)[2].cond["mask"].sum(1) == FRAMES).all()
    assert (_lasting(0.1, 0.5, 4)[2].cond["mask"].sum(1) == 1).all()
    told = flow.solve(4, seed=3, cond={**{k: v[:4] for k, v in cond.items()}, "mask": marks[:4]})
    assert torch.equal(told.cond["mask"].bool(), marks[:4])


def test_frames_are_heard_as_they_come():
    spec = Spec((FRAMES, BANDS))
    flow = flow_of(network(spec), spec, condition_dropout=0.0)
    seen = []
    noise = frames(seed=4)
    solution = flow.solve(x0=noise, keep=3, on_step=lambda x, t: seen.append((x, t)))
    assert [round(t * FRAMES) for _, t in seen] == list(range(1, FRAMES + 1))
    for i, (x, _) in enumerate(seen):
        assert torch.equal(x[:, : i + 1], solution.x[:, : i + 1])
        assert torch.equal(x[:, i + 1 :], noise[:, i + 1 :])
    assert torch.equal(solution.trajectory[0], noise)
    assert torch.equal(solution.trajectory[-1], solution.x)
    again = flow.solve(x0=noise)
    assert torch.equal(again.x, solution.x)
    assert not torch.equal(flow.solve(x0=noise, solver=FrameByFrame(2).with_steps(5)).x, solution.x)


def test_chains_have_the_law_they_say():
    data = FrameChain(8, 12, n=500)
    examples = data.all()
    y = examples.x * data.scale
    rest = y[:, 1:] - data.mean(y[:, :-1].flatten(0, 1)).view(500, 11, 8)
    jump = data.jumps[examples.cond["kind"]][:, None]
    sides = (rest * jump).sum(-1) / jump.square().sum(-1)
    assert float(sides.abs().mean()) == pytest.approx(1, abs=0.01)
    assert float((sides > 0).double().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((rest - sides.sign()[..., None] * jump).std()) == pytest.approx(0.05, rel=0.03)
    assert float(examples.x.square().mean()) == pytest.approx(1, rel=0.1)


def test_increments_tell_other_kinds_and_drift_apart():
    data = FrameChain(8, 12, n=400)
    metric = Increments(data.spec, 1000)
    rows = data.all().take(torch.arange(200)), data.all().take(torch.arange(200, 400))
    right = metric(*rows)
    assert abs(right["increment_distance"]) < 0.015
    assert right["late_spread"] == pytest.approx(1, abs=0.1)
    other = Examples(rows[0].x, {"kind": (rows[0].cond["kind"] + 1) % 3})
    assert metric(other, rows[1])["increment_distance"] > 0.04
    drifting = Examples(rows[0].x * (1 + torch.arange(12) / 6)[:, None], rows[0].cond)
    assert metric(drifting, rows[1])["late_spread"] > 2


def test_what_cannot_be_is_said():
    beside = Spec((4, 6), conditions={"noisy": Condition(shape=(4, 6))})
    with pytest.raises(IncompatibleError, match="'noisy' stands there: name it in ignore"):
        network(beside)
    with pytest.raises(IncompatibleError, match="set levels: whole"):
        network(Spec((4, 1)))
    with pytest.raises(ValueError, match="levels are coarse-to-fine, whole, decoupled, not 'fine'"):
        network(levels="fine")
    with pytest.raises(IncompatibleError, match=r"withhold names 'voice'; conditions to withhold: text"):
        FrameMatching(SPEECH, withhold=["voice"])
    with pytest.raises(IncompatibleError, match="use codec: log-mel"):
        FrameMatching(Spec((4,)))
    with pytest.raises(ValueError, match="prior is previous or gaussian, not 'last'"):
        FrameMatching(SPEECH, prior="last")
    with pytest.raises(IncompatibleError, match="not by Adaptive"):
        FrameByFrame(inner=Adaptive(fl.solvers.Heun(1)))
    with pytest.raises(IncompatibleError, match="MLP is none"):
        FrameMatching(SPEECH).field(fl.models.MLP(Spec((4,)), width=8))
    with pytest.raises(IncompatibleError, match="weights of float32 or wider; they are bfloat16"):
        flow_of(network()).to(torch.bfloat16).field()
    velocity = fl.fields.NetworkField(fl.models.MLP(Spec((4,)), width=8), "velocity")
    with pytest.raises(IncompatibleError, match="draws next frames, and this field is a velocity"):
        FrameByFrame().solve(velocity, torch.zeros(2, 4))
    law = NextFrame(network(), fl.paths.AffinePath())
    with pytest.raises(IncompatibleError, match="from 0 to 1 alone"):
        FrameByFrame().solve(law, frames(), span=(1.0, 0.0))


def test_nobody_asks_frames_for_scores_that_they_lack():
    """Noise about the frame before has not the law of the source; a second model has not read the frames."""

    class Second(Wrapped):
        def __init__(self, field):
            super().__init__(field)
            self.weak = field

    class WithSecond(Guidance):
        def __call__(self, field):
            return Second(field)

    source, walker = Gaussian(), FrameByFrame(inner=EulerMaruyama(3))

    def said(solver, guidance=None, **settings):
        objective = FrameMatching(SPEECH, **settings)
        parts = {"objective": objective, "source": source, "guidance": guidance}
        return [(clash.first, clash.message) for clash in solver.clashes(parts)]

    ((first, message),) = said(walker)
    assert first == "solver"
    assert "score" in message
    assert not said(walker, prior="gaussian")
    assert not said(FrameByFrame(2), ClassifierFree(2.0))
    ((first, message),) = said(FrameByFrame(2), WithSecond())
    assert first == "guidance"
    assert "second" in message
    flow = flow_of(network(), solver=walker)
    with pytest.raises(IncompatibleError, match="score"):
        flow.sample(2, **asked(2))
    flow_of(network(), solver=walker, prior="gaussian").sample(2, **asked(2))


def test_noise_is_not_paired_with_frames_that_start_from_others():
    from flowloom.couplings import Independent, OptimalTransport

    objective = FrameMatching(SPEECH)

    def said(coupling):
        parts = {"source": Gaussian(), "coupling": coupling}
        return [clash.second for clash in objective.clashes(parts)]

    assert said(OptimalTransport(fl.geometry.Euclidean())) == ["coupling"]
    assert not said(Independent())
    assert not said(None)


def test_the_network_has_the_size_of_the_paper():
    from flowloom_registry import load_recipe
    from flowloom_registry.config.nodes import plain

    said = dict(plain(load_recipe("felle-librispeech").tree.entries["model"].node))
    said.pop("use")
    conditions = {
        "mask": Condition(shape=(1250,), role="real"),
        "text": Condition(80, (400,)),
        "speaker": Condition(100),
        "prompt": Condition(shape=(188, 80)),
    }
    with torch.device("meta"):
        model = FrameLanguageModel(Spec((1250, 80), conditions=conditions), **said)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    # Two heads of 18 million together; twelve blocks of 1024 and 4096 have 151 million whoever counts them.
    assert count["drawers"] == pytest.approx(18e6, rel=0.03)
    assert count["blocks"] == pytest.approx(12 * (4 * 1024**2 + 2 * 1024 * 4096), rel=0.01)


def test_a_flow_of_recordings_is_heard_and_timed():
    from flowloom_audio.codecs import LogMel
    from flowloom_audio.data import ToySpeech
    from flowloom_audio.felle import Pace

    data = ToySpeech(voices=2, takes=3, prompt=0.128)
    codec = LogMel(data.spec, bands=8, iterations=1)
    model = network(codec.spec, depth=1, ignore=["speaker"])
    objective = FrameMatching(codec.spec, withhold=["prompt"])
    flow = fl.Flow(model, codec=codec, objective=objective, solver=FrameByFrame(1, threshold=None))
    flow.fit_parts(data)
    rows = data.take(torch.arange(4))
    asked_for = {name: rows.cond[name] for name in ("text", "prompt")}
    torch.nn.init.constant_(model.last.bias, -2.5)
    solution = flow.solve(4, seed=0, cond=asked_for)
    waves = flow.decode(Examples(solution.x, solution.cond))
    lengths = solution.cond["mask"].sum(1)
    assert torch.equal(waves.cond["mask"].sum(1), (lengths * 128).clamp(max=data.samples))
    values = Pace(n=2, frames=4)(flow, flow.encode(rows))
    assert 0 < values["first_audio"] < 5
    torch.nn.init.constant_(model.last.bias, -30.0)
    soon, late = Pace(n=1, frames=4), Pace(n=1, frames=40)
    assert soon(flow, flow.encode(rows))["first_audio"] < late(flow, flow.encode(rows))["first_audio"]
    with pytest.raises(IncompatibleError, match="use a codec of waveforms"):
        Pace().require(flow_of(network()))


@pytest.mark.slow
def test_a_recipe_is_run_judged_and_said_into_a_file(tmp_path, capsys):
    from flowloom_registry.cli import main

    short = (
        *("train.steps=2", "train.batch=4", "data.takes=3", "data.voices=2", "codec.iterations=2"),
        *("model.width=16", "model.depth=1", "model.heads=2", "model.head_width=16", "solver.steps=1"),
        *("evaluate.n=4", "evaluate.reference=8", "sample.n=2", "metrics=[{use: speech-judge, steps: 2}]"),
    )
    folder, out = tmp_path / "toy", tmp_path / "out.wav"
    words = [word for setting in short for word in ("--set", setting)]
    assert main(["run", "felle-toy", *words, "--out", str(folder)]) == 0
    page, table = (folder / "report.html").read_text(), (folder / "evaluation.json").read_text()
    assert "data:audio/wav;base64," in page
    assert "real_time_factor" in table
    capsys.readouterr()
    assert main(["task", str(folder), "synthesise", "masa", "-o", str(out)]) == 0
    assert out.is_file()


@pytest.mark.slow
def test_the_papers_recipe_can_be_planned(tmp_path, tone, monkeypatch, capsys):
    from flowloom_registry.cli import main

    folder = tmp_path / "LibriTTS" / "train-clean-100" / "10" / "20"
    for k in range(24):
        file = tone(folder / f"10_20_{k}.wav", seconds=4 + k % 3, rate=16_000, pitch=150 + 10 * k)
        file.with_suffix(".normalized.txt").write_text("a quick brown fox")
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    assert main(["plan", "felle-librispeech", "--set", "data.symbols=characters"]) == 0
    assert "171,0" in capsys.readouterr().out  # million parameters, and what the symbols need


def test_frames_are_shown_on_one_scale():
    data = FrameChain(8, 12, n=10)
    rows = data.take(torch.arange(3))
    view = FramePictures(data.spec, rows=2, limit=2.0)
    (figure,) = view.samples(rows, data.take(torch.arange(3, 6)))
    assert figure.data.count(b"data:image/png;base64,") == 4
    (at_limit,) = view.samples(
        Examples(torch.full((1, 12, 8), 2.0), {}), Examples(torch.full((1, 12, 8), 9.0), {})
    )
    assert (
        len(set(re.findall(rb"base64,([^\"]+)", at_limit.data))) == 1
    )  # beyond the limit no colour is stronger
    with pytest.raises(ShapeError, match=r"shows real numbers \(frames, bands\)"):
        FramePictures(Spec((4, 3), vocab=5))
