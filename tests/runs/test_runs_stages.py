"""Stages that follow each other, and parts of other runs: taken, frozen, copied, told when they are wrong."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flowloom.trained import Trained
from flowloom_registry import load, load_recipe
from flowloom_registry.cli import main
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

BASE = """
data: {use: eight-gaussians, n: 300}
codec: standardize
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
train: {steps: 6, batch: 16, log_every: 2}
sample: {n: 4, frames: 2}
"""
STAGED = (
    BASE
    + """
name: staged
stages:
  - {name: coder, train: {steps: 3}}
  - {name: base, codec: {run: coder}, model: {width: 12}}
  - name: student
    repeat: 2
    codec: {run: coder, part: codec}
    roles: {teacher: {run: base}}
    model: {run: previous, frozen: false}
"""
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "flow.safetensors")


def everything(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a run, those that it has of other runs included."""
    return load(folder).flow.state_dict()


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    (folder / "r.yaml").write_text(STAGED)
    assert main(["run", str(folder / "r.yaml"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_every_stage_is_a_run_and_the_folder_itself_is_the_last(staged):
    assert sorted(p.name for p in (staged / "stages").iterdir()) == ["base", "coder", "student-1"]
    for place in (staged, *(staged / "stages").iterdir()):
        assert json.loads((place / "status.json").read_text())["state"] == "finished"
    assert load(staged).sample(3, label=0).shape == (3, 2)
    assert main(["sample", str(staged / "stages" / "base"), "-n", "2"]) == 0


def test_the_summary_is_said_of_the_last_stage(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(
        BASE.replace("steps: 6", "steps: 1")
        + "name: two\nsummary: both together\nstages: [{name: first}, {name: second}]\n"
    )
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    said = [line.split(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines() if line[:4] == "run "]
    assert said == ["two-first", "two-second: both together"]


def test_what_is_frozen_keeps_its_weights_and_what_is_not_moves_on(staged):
    coder, base, first = (everything(staged / "stages" / name) for name in ("coder", "base", "student-1"))
    last = everything(staged)
    assert len(base["codec.mean"]) == 2  # fitted in the first stage, and not again
    for name in ("codec.mean", "codec.std"):
        assert all(one[name].equal(coder[name]) for one in (base, first, last))
    learned = {name for name in base if name.startswith("model.")}
    assert learned
    assert all(first[f"roles.teacher.flow.{name}"].equal(base[name]) for name in learned)
    assert all(last[f"roles.teacher.flow.{name}"].equal(base[name]) for name in learned)
    assert not any(first[name].equal(base[name]) for name in learned if "weight" in name)
    assert not any(first[name].equal(last[name]) for name in learned if "weight" in name)
    assert all((first[name] - base[name]).abs().max() < 0.05 for name in learned)  # a few small steps away


def test_what_comes_whole_from_another_run_is_kept_once(staged):
    for place in (staged, staged / "stages" / "base"):
        files = [place / "flow.safetensors", *place.glob("checkpoints/*/flow.safetensors")]
        assert len(files) > 1
        assert all(name.startswith("model.") for file in files for name in load_file(file))


def test_copies_of_used_runs_lie_side_by_side(tmp_path):
    """A chain of repetitions keeps every run once, however deep it is."""
    text = BASE.replace("train: {steps: 6", "train: {steps: 2")
    chain = "{name: s, repeat: 3, model: {run: previous, frozen: false}, codec: {run: base}}"
    (tmp_path / "r.yaml").write_text(text + f"stages:\n  - name: base\n  - {chain}\n")
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    copies = sorted((tmp_path / "out" / "used").rglob("data.json"))
    assert [str(copy.parent.relative_to(tmp_path / "out")) for copy in copies] == [
        "used/base",
        "used/s-1",
        "used/s-2",
    ]
    shutil.rmtree(tmp_path / "out" / "stages")
    assert load(tmp_path / "out").sample(2, label=0).shape == (2, 2)


def test_a_frozen_part_is_in_no_optimiser_and_stays_in_evaluation_mode(staged):
    flow = load(staged).flow
    flow.train()
    assert all(name.startswith("model.") for name in flow.trainable())
    teacher = flow.roles["teacher"]
    assert isinstance(teacher, Trained)
    assert flow.model.training
    assert not any(module.training for module in teacher.modules())


def test_a_finished_folder_is_whole(staged, tmp_path):
    expected = load(staged).sample(4, label=1, seed=0)
    shutil.copytree(staged, tmp_path / "elsewhere" / "deeper", ignore=shutil.ignore_patterns("stages*"))
    moved = tmp_path / "elsewhere" / "deeper"
    assert load(moved).sample(4, label=1, seed=0).equal(expected)
    assert main(["run", str(moved)]) == 0  # and goes on by itself, which is to be judged again


def test_a_run_again_passes_over_what_is_finished(staged, tmp_path, capsys):
    shutil.copytree(staged, tmp_path / "out")
    before = weights(tmp_path / "out" / "stages" / "base")
    (tmp_path / "r.yaml").write_text(STAGED)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert "stage 1/4 coder: finished before" in told
    assert "stage 3/4 student-1: finished before" in told
    assert all(value.equal(before[name]) for name, value in weights(tmp_path / "out/stages/base").items())


def test_a_changed_stage_is_another_run(staged, tmp_path, capsys):
    shutil.copytree(staged, tmp_path / "out")
    (tmp_path / "r.yaml").write_text(STAGED.replace("width: 12", "width: 14"))
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("stage ")]
    assert "stages/base holds a run of another recipe (model.width: 12 -> 14)" in line


def test_changed_weights_of_a_used_run_are_noticed(staged, tmp_path, capsys):
    shutil.copytree(staged, tmp_path / "out")
    (tmp_path / "r.yaml").write_text(STAGED)
    other = staged / "stages" / "student-1" / "flow.safetensors"
    shutil.copy(other, tmp_path / "out/stages/base/flow.safetensors")
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "stages/base has other weights than when" in line
    assert "student-1 was begun with it" in line


def test_hashes_of_what_was_used_are_written_down(staged):
    import hashlib

    used = json.loads((staged / "environment.json").read_text())["used"]
    assert set(used) == {"coder", "base", "student-1"}
    for name, hashes in used.items():
        bytes_ = (staged / "stages" / name / "flow.safetensors").read_bytes()
        assert hashes["weights"] == hashlib.sha256(bytes_).hexdigest()
        recipe = (staged / "stages" / name / "recipe.yaml").read_bytes()
        assert hashes["recipe"] == hashlib.sha256(recipe).hexdigest()
        assert ("used" in hashes) is (name != "coder")


LONG = STAGED.replace(
    "train: {steps: 6, batch: 16, log_every: 2}",
    "train: {steps: 300, batch: 16, log_every: 5, checkpoint_every: 40}",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "r.yaml").write_text(LONG)
    assert main(["run", str(folder / "r.yaml"), "--out", str(folder / "whole")]) == 0
    return folder / "whole"


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_killed_in_the_second_stage_it_goes_on_with_the_same_bits(whole, tmp_path, apart, number):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(LONG)
    process = apart.start(recipe, tmp_path / "out")
    apart.wait_for_step(tmp_path / "out" / "stages" / "base", 90, process)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGTERM:
        assert f"stopped in stage 2/4 base; go on with: flowloom run {tmp_path / 'out'}" in told
    assert not (tmp_path / "out" / "status.json").exists()
    # The folder knows all of its stages by itself.
    assert main(["run", str(tmp_path / "out")]) == 0
    for inside in ("", "stages/coder", "stages/base", "stages/student-1"):
        expected, found = weights(whole / inside), weights(tmp_path / "out" / inside)
        assert expected.keys() == found.keys()
        assert all(value.equal(found[name]) for name, value in expected.items()), inside


def test_a_run_that_has_not_come_to_its_last_stage_says_so(tmp_path, capsys):
    (tmp_path / "stages.yaml").write_text("name: x\n")
    assert main(["sample", str(tmp_path)]) == 2
    assert "has not come to its last stage; go on with: flowloom run" in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a finished run ``base`` and two unfinished ones, one not at its last stage."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "base.yaml").write_text(BASE)
    assert main(["run", str(folder / "base.yaml"), "--out", str(folder / "base")]) == 0
    shutil.copytree(folder / "base", folder / "half")
    status = {"format": 2, "state": "training", "step": 3, "message": ""}
    (folder / "half" / "status.json").write_text(json.dumps(status))
    (folder / "early").mkdir()
    (folder / "early" / "stages.yaml").write_text(BASE)
    return folder


def test_parts_of_a_run_folder_are_named_relative_to_the_recipe(runs, tmp_path):
    (runs / "mine.yaml").write_text(BASE + "codec: {run: base}\n")
    text = (runs / "mine.yaml").read_text().replace("codec: standardize\n", "")
    (runs / "mine.yaml").write_text(text)
    assert main(["run", str(runs / "mine.yaml"), "--out", str(tmp_path / "a" / "mine")]) == 0
    recipe = (tmp_path / "a" / "mine" / "recipe.yaml").read_text()
    assert "codec:\n  run: used/base\n  part: codec\n  frozen: true\n" in recipe
    assert everything(tmp_path / "a/mine")["codec.std"].equal(weights(runs / "base")["codec.std"])


def test_the_runs_own_draws_do_not_depend_on_what_is_opened(runs, tmp_path):
    (runs / "with.yaml").write_text(BASE + "roles: {teacher: {run: base}}\n")
    alone = assemble(load_recipe(runs / "base.yaml")).flow.model.state_dict()
    beside = assemble(load_recipe(runs / "with.yaml")).flow.model.state_dict()
    assert all(value.equal(beside[name]) for name, value in alone.items())


def test_a_run_that_fine_tunes_without_training_is_the_other_run(runs, tmp_path):
    text = BASE.replace("codec: standardize", "codec: {run: base}").replace(
        "model: {use: mlp, width: 8, depth: 1}", "model: {run: base}"
    )
    (runs / "same.yaml").write_text(text.replace("steps: 6", "steps: 0"))
    assert main(["run", str(runs / "same.yaml"), "--out", str(tmp_path / "same")]) == 0
    one, other = (load(path).sample(5, label=2, seed=1) for path in (runs / "base", tmp_path / "same"))
    assert one.equal(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {run: bsae}", "r.yaml:1:14: model.run: no run 'bsae': there is no folder"),
        ("model: {run: .}", "model.run: no run '.': that folder holds no run"),
        (
            "model: {run: half}",
            "run 'half' is unfinished (training, step 3); go on with it first: flowloom run",
        ),
        ("model: {run: early}", "early has not come to its last stage; go on with: flowloom run"),
        ("model: {run: ..}", "that folder holds no run; there are runs in it: "),
        ("model: {run: 3}", "model.run: expected an earlier stage or the folder of a run, got 3 (int)"),
        (
            "model: {run: base, part: source}",
            "model.part: a model is wanted here, and part is 'source' (str); ",
        ),
        (
            "model: {run: base, part: roles.critic}",
            "model: run 'base' has no roles.critic; it has: data, feed, codec",
        ),
        ("model: {run: base, frozen: 3}", "model.frozen: expected true or false, got 3 (int)"),
        (
            "model: {run: base, width: 3}",
            "model.width: a part of another run has no 'width'; it takes: run, part, frozen",
        ),
        ("data: {run: base}", "a run keeps no data of its own that others could take; name the data here"),
        ("schedule: {run: base}", "schedule: run 'base' has no schedule; it has: "),
        (
            "codec: {run: base, frozen: false}",
            "codec.frozen: FlowMatching trains no codec, so it stays frozen",
        ),
        (
            "data: digits\ncodec: {run: base}",
            "the codec of run 'base' is of other data: states of shape (2,) there, ",
        ),
        ("model: {run: previous}", "model.run: there is nothing before: this recipe has no stages"),
        (
            "model: {run: base}",
            "nothing is trained here: model of other runs are frozen, and there is nothing else; write",
        ),
    ],
)
def test_what_cannot_be_taken_is_told_in_one_line(runs, capsys, text, expected):
    keys = {line.partition(":")[0] for line in text.splitlines()}
    rest = [line for line in BASE.strip().splitlines() if line.partition(":")[0] not in keys]
    (runs / "r.yaml").write_text("\n".join([text, *rest]))
    assert main(["run", str(runs / "r.yaml"), "--out", str(runs / "never")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (runs / "never").exists()


STAGE = "  - {name: a}\n"


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("[]", "stages: expected a list of stages, each a mapping with a name, got an empty list"),
        ("base", "stages: expected a list of stages, each a mapping with a name, got 'base' (str)"),
        (
            "[{model: mlp}]",
            "stages[0]: a stage needs a name; write 'name: base', say; its folder is called so",
        ),
        ("[{name: a/b}]", "stages[0].name: a stage is named by a word such as 'base'; got 'a/b' (str)"),
        (
            "[{name: previous}]",
            "such as 'base', and not 'previous', which is the stage before; got 'previous'",
        ),
        ("[{name: a}, {name: a}]", "stages[1]: two stages are called 'a'; first at "),
        ("[{name: a, repeat: 2}, {name: a-2}]", "stages[1]: two stages are called 'a-2'; first at "),
        ("[{name: a, repeat: 0}]", "stages[0].repeat: repeat counts from 1, got 0 (int)"),
        ("[{name: a, modle: mlp}]", "stages[0].modle: a stage has no section 'modle'; did you mean 'model'?"),
        ("[{name: a, stages: []}]", "stages[0].stages: a stage has no section 'stages'; "),
        (
            "[{name: a, model: {run: b}}, {name: b}]",
            "model.run: stage 'a' names stage 'b', which comes later; stages before this one: none",
        ),
        (
            "[{name: a}, {name: b, model: {run: b}}]",
            "model.run: stage 'b' names itself; stages before this one: a",
        ),
        ("[{name: a, model: {run: previous}}]", "model.run: there is nothing before: 'a' is the first stage"),
        ("[{name: base}, {name: b, model: {run: bsae}}]", "no run 'bsae': there is no folder"),
        ("[{name: a}, {name: b, solver: teleport}]", "solver"),
    ],
)
def test_ill_stages_are_told_before_the_first_trains(tmp_path, capsys, stages, expected):
    (tmp_path / "r.yaml").write_text(BASE + f"stages: {stages}\n")
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(f"{tmp_path}/r.yaml:")
    assert expected in line
    assert not (tmp_path / "out").exists()


def test_parts_that_clash_in_a_later_stage_are_told_before_the_first_trains(tmp_path, capsys):
    later = "objective: {use: flow-matching, condition_dropout: 0.1}, data: {labelled: false}"
    stages = f"[{{name: a}}, {{name: b, codec: {{run: a}}, {later}}}]"
    (tmp_path / "r.yaml").write_text(BASE + f"stages: {stages}\n")
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "condition_dropout is set, but the data has no conditions to withhold" in told
    assert not (tmp_path / "out").exists()


def test_a_stage_extends_a_recipe(tmp_path):
    (tmp_path / "small.yaml").write_text(BASE + "seed: 7\n")
    (tmp_path / "r.yaml").write_text(
        "data: moons\nstages:\n  - {name: one, extends: small.yaml, train: {steps: 2}}\n"
        "  - {name: two, extends: small.yaml}\n"
    )
    one, two = stages_of(load_recipe(tmp_path / "r.yaml"))
    said = plain(one.tree)
    assert said["train"] == {"steps": 2, "batch": 16, "log_every": 2}
    assert said["data"]["use"] == "eight-gaussians"
    assert "seed" not in said  # which would stand against --seed
    assert plain(two.tree)["train"]["steps"] == 6


def test_a_stage_extends_no_stages(tmp_path, capsys):
    (tmp_path / "staged.yaml").write_text(STAGED)
    (tmp_path / "r.yaml").write_text("stages:\n  - {name: one, extends: staged.yaml}\n")
    assert main(["run", str(tmp_path / "r.yaml")]) == 2
    assert "r.yaml:2:26: extends: 'staged.yaml' has stages of its own" in capsys.readouterr().err


@pytest.mark.slow
def test_the_scale_of_classifier_guidance_is_asked_again(tmp_path):
    """The classifier is another run's, so guidance by it is no part of what was trained here."""
    small = ["--set", "train.steps=4", "--set", "train.batch=16", "--set", "evaluate.n=20", "--set", "seed=1"]
    small += ["--set", "evaluate.reference=20", "--set", "evaluate.sweep_nfe=[]", "--set", "sample.n=4"]
    out = tmp_path / "out"
    assert main(["run", "classifier-guidance", *small, "--out", str(out)]) == 0
    judged = json.loads((out / "stages" / "classifier" / "evaluation.json").read_text())
    assert set(judged["scores"]["held-out data"]) >= {"loss", "accuracy", "cross_entropy"}
    assert main(["eval", str(out), "--set", "guidance.scale=40", "--out", "strong"]) == 0
    (strong,) = out.rglob("strong*/evaluation.json")
    before, after = (json.loads(p.read_text()) for p in (out / "evaluation.json", strong))
    assert before["columns"]["samples"] != after["columns"]["samples"]
    assert main(["eval", str(out), "--set", "guidance=null", "--out", "plain"]) == 0
