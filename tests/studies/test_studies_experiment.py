"""Experiments: what their cells are, what is run again, and what one bad cell does to the others: nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from flowloom.errors import MissingDependencyError, RunError
from flowloom_registry import Experiment
from flowloom_registry.cli import main
from flowloom_registry.config.nodes import plain
from flowloom_registry.errors import ConfigError
from flowloom_registry.runs.folder import RunFolder
from flowloom_registry.studies.folder import FAILED, FINISHED, RUNNING, UNDEFINED, WAITING, State
from flowloom_registry.studies.launchers import Launching, Processes
from flowloom_registry.studies.page import page
from flowloom_registry.studies.results import Record

GRID = """
summary: two couplings on two sets of points
recipe: base.yaml
grid: {data: [moons, checkerboard]}
arms: {plain: {}, ot: {coupling: optimal-transport}}
every: {data: {n: 200}}
seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def grid_of_seed_0(tmp_path_factory, base_recipe) -> Path:
    """The folder in which the four cells of the first seed were carried out; its tests work on copies."""
    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "base.yaml").write_text(base_recipe)
        (folder / "study.yaml").write_text(GRID)
        Experiment(folder / "study.yaml", seeds=[0]).run()
    return folder


@pytest.fixture
def carried_out(write, grid_of_seed_0) -> Experiment:
    """`GRID` of the first seed, finished, in the working folder."""
    file = write(GRID)
    shutil.copytree(grid_of_seed_0 / "experiments", "experiments")
    return Experiment(file, seeds=[0])


def states(experiment: Experiment) -> dict[str, str]:
    return {cell.name: experiment.folder.state(cell.name).state for cell in experiment.design.cells}


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Experiment(file).run()
    return [str(problem).replace(f"{file.parent}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("floor", "baseline", "better", "quality"),
    [
        (0.0, 0.5, "lower", 0.5),
        (1.0, 0.5, "higher", 1.5),
        (0.5, 0.0, "lower", None),
        # A gap of a hundredth of what is measured blows noise up to a hundred times the gap.
        (0.0191, 0.0193, "lower", None),
        (-0.001, 0.3, "lower", 0.251 / 0.301),
    ],
)
def test_quality_is_measured_between_a_floor_and_a_baseline_that_differ(floor, baseline, better, quality):
    record = Record("cell", {}, 0, FINISHED, "", "m", 0.25, floor, baseline, better)
    assert record.quality == (quality if quality is None else pytest.approx(quality))


def test_every_cell_is_a_run_and_the_results_are_tidy(write) -> None:
    # So many draws that a Gaussian is told from training data.
    experiment = Experiment(write(GRID), seeds=[0], overrides=["evaluate.n=100", "evaluate.reference=100"])
    results = experiment.run()
    assert set(states(experiment)) == {
        "plain_moons_seed0", "plain_checkerboard_seed0", "ot_moons_seed0", "ot_checkerboard_seed0"
    }  # fmt: skip
    assert set(states(experiment).values()) == {FINISHED}
    rows = results.rows()
    assert {(row["arm"], row["data"]) for row in rows} == {
        (arm, data) for arm in ("plain", "ot") for data in ("moons", "checkerboard")
    }
    one = rows[0]
    run = experiment.folder.path / "cells" / one["cell"]
    told = json.loads((run / "evaluation.json").read_text())["columns"]
    assert one["value"] == told["samples"]["energy_distance"]
    floor, baseline = (told[c]["energy_distance"] for c in ("training data", "Gaussian"))
    assert one["quality"] == pytest.approx((one["value"] - floor) / (baseline - floor))
    assert one["train_seconds"] > 0
    with experiment.folder.results.open() as file:
        assert [line["cell"] for line in csv.DictReader(file)] == [row["cell"] for row in rows]


def test_a_frame_is_the_same_rows_or_one_clear_line(carried_out, monkeypatch) -> None:
    results = carried_out.results()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"flowloom\[frames\]"):
        results.frame()
    monkeypatch.undo()
    pandas = pytest.importorskip("pandas")
    frame = results.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["value"]) == [row["value"] for row in results.rows()]


def test_seeds_differ_and_stand_as_mean_and_deviation(write, capsys) -> None:
    assert main(["experiment", str(write(GRID))]) == 0
    out = capsys.readouterr().out
    assert out.count(" ± ") >= 4
    values = {row["value"] for row in Experiment("study.yaml").results().rows()}
    assert len(values) == 8


def test_a_second_call_does_nothing_and_a_change_runs_what_it_changed(carried_out, write, capsys) -> None:
    file = Path("study.yaml").resolve()
    before = {p: p.stat().st_mtime_ns for p in Path("experiments").glob("*/cells/*/flow.safetensors")}
    capsys.readouterr()
    Experiment(file, seeds=[0]).run()
    assert "finished" not in capsys.readouterr().err
    write(GRID.replace("ot: {coupling: optimal-transport}", "ot: {coupling: stable}"))
    Experiment(file, seeds=[0]).run()
    err = capsys.readouterr().err
    assert "ot · moons · seed 0: trained again, for it was changed (coupling" in err
    assert "plain" not in err
    after = {p: p.stat().st_mtime_ns for p in Path("experiments").glob("*/cells/*/flow.safetensors")}
    again = {p.parent.name for p in before if after[p] != before[p]}
    assert again == {"ot_moons_seed0", "ot_checkerboard_seed0"}
    assert Path("experiments/study/replaced/ot_moons_seed0/flow.safetensors").is_file()


def test_other_metrics_judge_again_and_train_nothing(carried_out, capsys) -> None:
    before = {p: p.read_bytes() for p in Path("experiments").rglob("flow.safetensors")}
    results = Experiment("study.yaml", seeds=[0], overrides=["metrics=[sliced-wasserstein]"]).run()
    assert {row["metric"] for row in results.rows()} == {"sliced_wasserstein"}
    assert "judged again" in capsys.readouterr().err
    assert all(p.read_bytes() == data for p, data in before.items())


STAGED = """
recipe: base.yaml
arms:
  twice:
    stages:
      - {name: first}
      - {name: second, model: {run: first, frozen: false}}
"""


def test_a_change_of_a_stage_trains_its_cell_again_and_says_where(write, capsys) -> None:
    Experiment(write(STAGED)).run()
    capsys.readouterr()
    Experiment(write(STAGED)).run()
    assert "again" not in capsys.readouterr().err
    results = Experiment(write(STAGED.replace("name: first}", "name: first, train: {steps: 6}}"))).run()
    assert "twice · seed 0: trained again, for it was changed (first.train.steps: 4 -> 6)" in (
        capsys.readouterr().err
    )
    assert {row["state"] for row in results.rows()} == {FINISHED}
    assert Path("experiments/study/replaced/twice_seed0/flow.safetensors").is_file()


TWICE = (
    "stages: [{{name: first, train: {{steps: {}}}}}, {{name: second, model: {{run: first, frozen: false}}}}]"
)
LONG = f"recipe: base.yaml\narms:\n  long: {{train: {{steps: 6}}, {TWICE.format(4)}}}\n"
SHARING = f"{LONG}  other: {{{TWICE.format(3)}}}\n  short: {{{TWICE.format(4)}}}\n"


def test_stages_of_the_same_words_are_trained_once(write, tmp_path) -> None:
    alone = Experiment(
        write(SHARING.replace(LONG, "recipe: base.yaml\narms:\n")), out=tmp_path / "alone"
    ).run()
    results = Experiment(write(SHARING)).run()
    study = Path("experiments/study")
    lent = [
        log.stem for log in study.glob("logs/*") if "first: as another cell trained it" in log.read_text()
    ]
    assert lent == ["short_seed0"]
    first = {p.parts[-4]: p.read_bytes() for p in study.glob("cells/*/stages/first/flow.safetensors")}
    assert first["short_seed0"] == first["long_seed0"] != first["other_seed0"]
    # What follows from a stage that was lent is what follows from an own one.
    found, own = (
        [(r["metric"], r["value"]) for r in x.rows() if r["arm"] == "short"] for x in (results, alone)
    )
    assert found == own


def test_arms_share_weights(write) -> None:
    file = write("""
recipe: base.yaml
arms:
  fine: {solver: {use: heun, steps: 2}, trains: two}
  two: {}
""")
    results = Experiment(file).run()
    assert [p.name for p in Path("experiments/study/cells").iterdir()] == ["two_seed0"]
    by_arm = {row["arm"]: row for row in results.rows()}
    assert by_arm["fine"]["evaluations"] == 4
    assert by_arm["two"]["evaluations"] == 2
    assert by_arm["fine"]["value"] != by_arm["two"]["value"]
    assert by_arm["fine"]["train_seconds"] == by_arm["two"]["train_seconds"]


def test_a_sweep_stands_once_however_often_the_weights_are_asked(write, capsys) -> None:
    file = write("""
recipe: base.yaml
arms:
  fine: {solver: {use: heun, steps: 2}, trains: two}
  others: {metrics: [sliced-wasserstein], trains: two}
  two: {}
every: {evaluate: {sweep_solvers: [euler], sweep_nfe: [1, 3]}}
""")
    rows = Experiment(file).run().rows()
    swept = {arm: {r["metric"] for r in rows if r["arm"] == arm and not r["own"]} for arm in ("two", "fine")}
    assert swept == {"two": {"energy_distance"}, "fine": set()}
    assert len([r for r in rows if r["arm"] == "others" and not r["own"]]) == 2, "another metric is no repeat"
    assert main(["compare", "experiments/study"]) == 0
    table = capsys.readouterr().out.rpartition("quality at so many")[2]
    lines = [line.split("│")[1:] for line in table.splitlines() if line.startswith("│")]
    told = {line[0].strip(): [word.strip() for word in line[1:-1]] for line in lines}
    assert told["two"][0] == "euler"
    assert told["fine"][0] == "", "its own solver alone"
    assert told["fine"][3] not in ("", "-"), "at the evaluations that its own solver takes"


BAD = """
recipe: base.yaml
arms:
  good: {}
  tokens: {path: mixture}
  breaks: {metrics: ['./breaks.py:Breaks']}
  away: {needs: nowhere, data: from-nowhere}
  shares: {solver: {steps: 3}, trains: breaks}
"""
BREAKS = """
from flowloom.metrics import Metric

class Breaks(Metric):
    better = {"x": "lower"}
    def __call__(self, samples, real):
        raise ZeroDivisionError("by design")
"""


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bad_cells_are_told_and_stop_nothing(write, jobs, capsys) -> None:
    write(BREAKS, "breaks.py")
    experiment = Experiment(write(BAD))
    results = experiment.run(jobs=jobs)
    assert states(experiment) == {
        "good_seed0": FINISHED, "tokens_seed0": UNDEFINED, "breaks_seed0": FAILED,
        "away_seed0": "not installed", "shares_seed0": FAILED,
    }  # fmt: skip
    whys = {row["arm"]: row["why"] for row in results.rows()}
    assert "needs a discrete geometry" in whys["tokens"]
    assert "ZeroDivisionError: by design" in whys["breaks"]
    assert "flowloom-nowhere" in whys["away"]
    assert "breaks_seed0" in whys["shares"]
    assert not Path("experiments/study/cells/tokens_seed0").exists()
    assert "not defined" in page(results)
    assert main(["experiment", "study.yaml"]) == 1
    assert "about" in capsys.readouterr().err


@pytest.mark.slow
def test_what_fails_at_first_is_tried_again(write) -> None:
    write(BREAKS, "breaks.py")
    experiment = Experiment(write(BAD))
    experiment.run()
    Path("breaks.py").write_text(BREAKS.replace('raise ZeroDivisionError("by design")', 'return {"x": 1.0}'))
    sys.modules.pop("breaks", None)
    again = Experiment("study.yaml")
    again.run(jobs=2)  # in processes, which import the mended file
    assert states(again)["breaks_seed0"] == FINISHED
    assert states(again)["shares_seed0"] == FINISHED


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_with_it(write) -> None:
    write(BREAKS.replace('raise ZeroDivisionError("by design")', "import os; os._exit(7)"), "breaks.py")
    experiment = Experiment(
        write("""
recipe: base.yaml
arms: {dies: {metrics: ['./breaks.py:Breaks']}, good: {}}
""")
    )
    experiment.run(jobs=2)
    assert states(experiment) == {"dies_seed0": FAILED, "good_seed0": FINISHED}
    assert "code 7" in experiment.folder.state("dies_seed0").why


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_experiment_goes_on_with_the_same_bits(write, jobs) -> None:
    text = "recipe: base.yaml\narms: {a: {}, b: {coupling: stable}}\nevery: {train: {steps: 300}}\n"
    file = write(text)
    Experiment(file, "whole").run()
    words = [
        sys.executable,
        "-m",
        "flowloom_registry",
        "experiment",
        str(file),
        "--out",
        "cut",
        "--jobs",
        jobs,
    ]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    first = Path("cut/cells/a_seed0/checkpoints")
    deadline = time.monotonic() + 60
    while not (first.is_dir() and any(first.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert not Path("cut/cells/b_seed0/flow.safetensors").exists() or jobs == "2"
    experiment = Experiment(file, "cut")
    assert experiment.run().ended(FINISHED)
    for name in ("a_seed0", "b_seed0"):
        whole, cut = (load_file(Path(f) / "cells" / name / "flow.safetensors") for f in ("whole", "cut"))
        assert all(whole[key].equal(cut[key]) for key in whole)


@pytest.mark.slow
def test_a_script_that_guards_nothing_has_processes_too(write) -> None:
    write("recipe: base.yaml\narms: {a: {}}")
    text = "from flowloom_registry import Experiment\n"
    text += "print([row['state'] for row in Experiment('study.yaml').run(jobs=2).rows()])\n"
    Path("script.py").write_text(text)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "['finished']", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C in a terminal", "SIGKILL"])
def test_processes_end_with_the_one_that_began_them_and_lose_nothing(write, how) -> None:
    rare = "every: {train: {steps: 100000, checkpoint_every: 100000}}"
    file = write(f"recipe: base.yaml\narms: {{a: {{}}, b: {{coupling: stable}}}}\n{rare}\n")
    words = [sys.executable, "-m", "flowloom_registry", "experiment", str(file), "--out", "cut"]
    process = subprocess.Popen(
        [*words, "--jobs", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    cells = [RunFolder(Path("cut/cells", f"{name}_seed0")) for name in "ab"]
    deadline = time.monotonic() + 120
    while not all(cell.metrics.is_file() for cell in cells) and time.monotonic() < deadline:
        time.sleep(0.05)
    if how == "SIGKILL":
        process.kill()
    else:  # which all processes of the terminal get
        os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    while any(cell.in_use() for cell in cells) and time.monotonic() < deadline:
        time.sleep(0.05)
    for cell in cells:
        assert not cell.in_use()
        (step,) = cell.checkpoints.iterdir()
        assert 0 < int(step.name.rpartition("-")[2]) < 100000


def test_a_cell_that_another_command_is_at_work_on_is_left_to_it(write, capsys) -> None:
    file = write("recipe: base.yaml\narms: {a: {}, b: {coupling: stable}, asked: {trains: a}}")
    experiment = Experiment(file)
    design = experiment.design
    a, b, asked = design.cells
    experiment.folder.begin(design.name, design.summary, design.axes, design.cells)
    with experiment.folder.run_of(a).locked():
        assert main(["experiment", str(file)]) == 0
        assert "a · seed 0: running: another process is at work on it" in capsys.readouterr().err
        assert experiment.folder.state(b.name).state == FINISHED
        for cell in (a, asked):
            assert experiment.folder.state(cell.name).state == RUNNING
        launching = Launching([], experiment.folder, None, lambda: [], lambda cell, state: told.append(state))
        told: list[State] = []
        launching.ended(a, "its process ended with code 0")
        assert told == [State(RUNNING, "another process is at work on it")]
    assert experiment.run().ended(FINISHED)
    assert set(states(experiment).values()) == {FINISHED}


def test_a_run_that_another_command_is_at_work_on_is_not_moved_away(write) -> None:
    file = write("recipe: base.yaml\narms: {a: {}}")
    Experiment(file).run()
    file.write_text("recipe: base.yaml\narms: {a: {coupling: stable}}")
    changed = Experiment(file)
    run = changed.folder.run_of(changed.design.cells[0])
    with run.locked():
        changed.run()
        assert run.weights.is_file()
        assert not (changed.folder.path / "replaced").exists()
    changed.run()
    assert (changed.folder.path / "replaced" / "a_seed0" / "flow.safetensors").is_file()


def test_mistakes_are_told_with_their_place_before_anything_trains(write) -> None:
    assert problems(write("""
recipe: base.yaml
data: moons
arms:
  a b: {solvr: {steps: 3}}
  a-b: {trains: c}
  t: {trains: "a b", data: moons}
grid: {seed: [1], train.lr: [1.0e-3, 0.001]}
seeds: [x]
""")) == [
        "study.yaml:3:1: data: an experiment has no key 'data'; write it under 'every:', for all cells; "
        "keys: name, summary, recipe, grid, arms, every, seeds, small",
        "study.yaml:5:9: arms.a b.solvr: a recipe has no section 'solvr'; did you mean 'solver'?; "
        "a layer has sections, and recipe, needs, trains, by",
        "study.yaml:8:8: grid.seed: 'seed' is no axis of the grid; write 'seeds: [0, 1, 2]' beside it",
        "study.yaml:8:38: grid.train.lr[1]: '0.001' stands there twice",
        "study.yaml:9:8: seeds: expected a list of whole numbers such as [0, 1, 2], got a list of 1",
        "study.yaml:6:17: arms.a-b.trains: no arm that is trained is named 'c'; arms that are trained: a b",
        "study.yaml:7:22: arms.t.trains: training depends on section 'data', and the weights are those of "
        "'a b'; leave 'trains:' out to train it anew",
        "study.yaml:6:8: 'a-b · 0.001 · seed 0' and 'a b · 0.001 · seed 0' would overwrite each other in "
        "folder 'a-b_0.001_seed0'; give one of them another name",
    ]  # fmt: skip
    assert not Path("experiments").exists()


def test_mistakes_inside_cells_are_those_of_recipes(write) -> None:
    file = write("recipe: base.yaml\narms: {a: {data: {use: moons, nn: 3}}, b: {extends: nothere}}\n")
    first, second = problems(file)
    assert first.startswith("study.yaml:2:31: data.nn: Moons takes no parameter 'nn'; did you mean 'n'?")
    assert second.startswith("study.yaml:2:53: extends: no recipe is named 'nothere'")
    assert not Path("experiments").exists()


def test_bad_words_exit_with_2_and_one_line(write, capsys) -> None:
    file = write(GRID)
    for words in (
        ["experiment", "methods-evrywhere"],
        ["experiment", str(file), "--small"],
        ["experiment", str(file), "--seeds", "a"],
        ["experiment", str(file), "--seeds", "1,1"],
        ["experiment", str(file), "--jobs", "0"],
        ["experiment", str(file), "--set", "train.stps=3"],
        ["experiment", str(file), "--out", "base.yaml"],
        ["experiment", str(file), "--out", "."],
        ["compare", "nowhere"],
        ["runs", "nowhere"],
    ):
        assert main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1, words
    assert not Path("experiments").exists()


def test_the_small_form_lies_over_the_file(write) -> None:
    experiment = Experiment(write(GRID + "small: {seeds: [7], grid: {data: [moons]}}\n"), small=True)
    assert [cell.name for cell in experiment.design.cells] == ["plain_moons_seed7", "ot_moons_seed7"]
    assert experiment.folder.path == Path("experiments/study-small")


def test_compare_reads_an_experiment_and_single_runs(write, capsys) -> None:
    experiment = Experiment(write(GRID.replace("[moons, checkerboard]", "[moons]")))
    experiment.run()
    assert main(["compare", "experiments/study"]) == 0
    whole = capsys.readouterr().out
    assert "plain" in whole
    cells = Path("experiments/study/cells")
    runs = [str(cells / name) for name in ("plain_moons_seed0", "plain_moons_seed1", "ot_moons_seed0")]
    assert main(["compare", *runs, "--out", "side"]) == 0
    out = capsys.readouterr().out
    assert "plain_moons_seed0" in out
    assert "plain_moons_seed1" not in out  # the same but for its seed
    assert Path("side/results.csv").is_file()
    assert main(["compare", "experiments/study", runs[0]]) == 2
    experiment.folder.run_of(experiment.design.cells[0]).set_status("training", 2)
    assert main(["compare", runs[0]]) == 2


def test_what_was_judged_by_other_numbers_is_told_beside_the_values(write, capsys) -> None:
    arms = "arms: {plain: {}, few: {evaluate: {n: 10}}, more: {coupling: optimal-transport}}"
    experiment = Experiment(write(f"recipe: base.yaml\n{arms}\ngrid: {{data: [moons]}}"))
    experiment.run()
    told = "not comparable without care: plain, more by 20 examples against 40; few by 10 examples against 40"
    runs = [str(experiment.folder.run_of(cell).path) for cell in experiment.design.cells]
    assert main(["compare", "experiments/study"]) == 0
    assert f"moons · energy_distance: {told}" in capsys.readouterr().out
    assert told in experiment.folder.report.read_text()
    assert main(["compare", *runs]) == 0
    assert "not comparable without care" in capsys.readouterr().out
    assert main(["compare", runs[0], runs[2]]) == 0
    assert "comparable" not in capsys.readouterr().out
    assert {row["judged"] for row in experiment.results().rows()} == {
        "20 examples against 40",
        "10 examples against 40",
    }


def test_so_are_points_of_the_sweep(write, capsys) -> None:
    every = "every: {evaluate: {n: 40, reference: 100, sweep_nfe: [2], sweep_solvers: [euler]}}"
    experiment = Experiment(
        write(f"recipe: base.yaml\narms: {{plain: {{}}, few: {{evaluate: {{sweep_n: 10}}}}}}\n{every}")
    )
    results = experiment.run()
    assert {(row["arm"], row["judged"]) for row in results.rows() if not row["own"]} == {
        ("plain", "40 examples against 100"),
        ("few", "10 examples against 100"),
    }
    assert main(["compare", "experiments/study"]) == 0
    said = capsys.readouterr().out
    told = "not comparable without care: plain by 40 examples against 100; few by 10 examples against 100"
    assert f"energy_distance of the sweep: {told}" in said
    measured = "points of the sweep are of 10 examples against 100, training data and baseline of 40 examples"
    assert measured in said
    assert "are of 40 examples" not in said
    assert measured[1:] in experiment.folder.report.read_text()  # a sentence there
    run = experiment.folder.run_of(experiment.design.cells[1])
    assert "Every solver from the same noise (10 examples a point)" in run.report.read_text()


def test_runs_are_listed_with_state_and_score(carried_out, capsys) -> None:
    assert main(["runs", "experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("finished" in line and "energy_distance" in line and "4 steps" in line for line in lines)


def test_the_page_loads_nothing_from_elsewhere(write) -> None:
    file = write(GRID + "small: {every: {evaluate: {sweep_nfe: [1, 2, 4], sweep_n: 20}}}\n")
    experiment = Experiment(file, small=True)
    results = experiment.run()
    text = experiment.folder.report.read_text()
    assert "Every metric in its own units" in text  # those of quality need a Gaussian worse than data
    assert '"logX":2' in text
    assert 'data-key="' in text
    for word in ('src="http', "src='http", 'href="http', "url(http", "@import"):
        assert word not in text
    at = {row["evaluations"] for row in results.rows() if not row["own"]}
    assert at == {1, 2, 4}


def test_a_damaged_study_is_one_line(carried_out) -> None:
    experiment = carried_out
    experiment.folder.index.write_text("{}")
    with pytest.raises(RunError, match="another format"):
        experiment.results()
    assert experiment.folder.state("nobody").state == WAITING
    begun = {"format": 1, "name": "x", "summary": "", "axes": ["arm"]}
    for more, said in (
        ({}, "says not what"),
        ({"cells": [{}]}, "lists no cells"),
        ({"cells": 3}, "lists no"),
    ):
        experiment.folder.index.write_text(json.dumps({**begun, **more}))
        with pytest.raises(RunError, match=f"study.json is damaged: it {said}"):
            experiment.results()
    experiment.folder.state_file("odd").write_text('{"state": "finished", "extra": 1}')
    with pytest.raises(RunError, match=r"odd\.json is damaged: it says no state of a cell"):
        experiment.folder.state("odd")


def test_what_is_partly_done_is_shown_as_such(write, monkeypatch, capsys) -> None:
    carry_out = Processes.carry_out

    def stopped(self, launching):
        carry_out(self, replace(launching, cells=launching.cells[:3]))
        raise KeyboardInterrupt

    monkeypatch.setattr(Processes, "carry_out", stopped)
    text = "recipe: base.yaml\narms: {a: {}, b: {coupling: stable}, c: {coupling: sinkhorn}}\nseeds: [0, 1]\n"
    assert main(["experiment", str(write(text))]) == 130
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "energy" in line}
    assert all("1 of 2" in rows[arm] for arm in "abc")
    with Path("experiments/study/results.csv").open() as file:
        assert [line["state"] for line in csv.DictReader(file)].count("waiting") == 3
    monkeypatch.setattr(Processes, "carry_out", carry_out)
    assert main(["experiment", "study.yaml"]) == 0
    assert " of 2" not in capsys.readouterr().out


def test_the_small_form_leaves_out_what_is_null_there(write) -> None:
    small = "small: {seeds: [7], arms: {ot: null}, grid: {data: [moons]}}\n"
    experiment = Experiment(write(GRID + small), small=True)
    assert [cell.name for cell in experiment.design.cells] == ["plain_moons_seed7"]


def test_nothing_is_left_out_that_is_not_there(write, capsys) -> None:
    file = write(GRID + "small: {seeds: [7], arms: {oot: null}}\n")
    assert main(["experiment", str(file), "--small"]) == 2
    assert "small.arms.oot: nothing is named 'oot' that could be left out" in capsys.readouterr().err


MET = """
recipe: base.yaml
grid:
  data:
    moons: {data: moons, arms: {long: {train: {steps: 9}}, asked: {solver: {steps: 4}}}}
    board: {data: checkerboard}
arms:
  short: {train: {steps: 3}}
  long: {train: {steps: 6}}
  asked: {trains: long, solver: {steps: 2}}
small: {arms: {long: null, asked: null}}
"""


def test_an_arm_may_be_another_at_one_value_of_the_grid(write) -> None:
    design = Experiment(write(MET)).design
    trees = {c.name: plain(c.recipe.tree) for c in design.cells}
    told = {name: (tree["train"]["steps"], tree["solver"]["steps"]) for name, tree in trees.items()}
    assert [told[f"{arm}_{data}_seed0"][0] for arm in ("short", "long") for data in ("moons", "board")] == [
        3, 3, 9, 6
    ]  # fmt: skip
    assert told["asked_moons_seed0"] == (9, 4), "the weights of the arm as it is there"
    assert told["asked_board_seed0"] == (6, 2)
    assert len(Experiment(write(MET), small=True).design.cells) == 2, "arms left out are said nothing of"


def test_mistakes_where_an_arm_meets_a_value(write) -> None:
    file = write(
        MET.replace("long: {train: {steps: 9}}", "lnog: {trains: long}").replace(
            "solver: {steps: 4", "data: {n: 9"
        )
    )
    assert problems(file) == [
        "study.yaml:5:33: grid.data.moons.arms.lnog: no arm is named 'lnog'; did you mean 'long'?; "
        "arms: short, long, asked",
        "study.yaml:5:40: grid.data.moons.arms.lnog.trains: a recipe has no section 'trains'; "
        "did you mean 'train'?; a layer has sections, and needs, by",
        "study.yaml:5:63: arms.asked.trains: training depends on section 'data', and the weights are those "
        "of 'long'; leave 'trains:' out to train it anew",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arms: {a: {}}\nname: ../climbed\n", "name: '../climbed' names no folder: it may hold no slash"),
        ("arms: {a: {seed: 3}}\n", "arms.a.seed: the seeds are those of all cells; write 'seeds: [0, 1, 2]'"),
        ("arms: {a: {}}\nevery: {seed: 3}\n", "every.seed: the seeds are those of all cells"),
        ("arms: {a: {}}\nsmall: [1]\n", "small: expected a mapping of what is other in the small form, got"),
        ("arms: {a: {}}\nevery: {trains: a}\n", "every.trains: a recipe has no section 'trains'"),
        ("arms: {a: {}}\ngrid: {d: {m: {trains: a}}}\n", "grid.d.m.trains: a recipe has no section 'trains'"),
        (
            "arms: {a: {}, b: {trains: a, extends: other.yaml}}\n",
            "trains: training depends on section 'train', and the weights are those of 'a · seed 0'",
        ),
        (
            "arms: {a: {by: nosuch}}\n",
            "by: a · seed 0 has no value named 'nosuch'; there are energy_distance",
        ),
    ],
)
def test_what_would_be_passed_over_is_refused_before_anything_trains(write, text, said) -> None:
    write("train: {steps: 9}\n", "other.yaml")
    assert said in problems(write(f"recipe: base.yaml\n{text}"))[0]
    assert not list(Path().rglob("*.safetensors"))


def test_nothing_is_no_small_form(write) -> None:
    with pytest.raises(ConfigError, match="expected a mapping of what is other in the small form, got null"):
        Experiment(write("recipe: base.yaml\narms: {a: {}}\nsmall: null\n"), small=True)


def test_arms_of_numbers_and_of_the_small_form_may_be_named(write) -> None:
    text = """
recipe: base.yaml
arms: {1: {train: {steps: 3}}}
grid: {data: {moons: {data: moons, arms: {1: {train: {steps: 5}}, more: {train: {steps: 7}}}}}}
small: {arms: {more: {}}}
"""
    for small, wanted in ((False, [5]), (True, [5, 7])):
        cells = Experiment(write(text), small=small).design.cells
        assert [plain(cell.recipe.tree)["train"]["steps"] for cell in cells] == wanted


def test_values_that_differ_late_have_names_of_their_own(write) -> None:
    file = write("recipe: base.yaml\ngrid: {train.lr: [0.0012345671, 0.0012345672, 0.001]}\n")
    words = [cell.labels["train.lr"] for cell in Experiment(file).design.cells]
    assert words == ["0.0012345671", "0.0012345672", "0.001"]


def test_a_run_twice_is_one_seed(write, capsys) -> None:
    write(GRID)
    assert main(["run", "base.yaml", "--out", "a"]) == 0
    shutil.copytree("a", "b")
    capsys.readouterr()
    assert main(["compare", "a", "b"]) == 0
    table = capsys.readouterr().out.partition("mean ± deviation over seeds")[2]
    assert "│ b " in table
    assert "±" not in table, "two runs of one seed say nothing of a deviation"


@pytest.mark.parametrize("told", ["null", "3", '{"samples": {"energy_distance": "much"}}'])
def test_a_damaged_evaluation_is_one_line(write, told, capsys) -> None:
    write(GRID)
    assert main(["run", "base.yaml", "--out", "a"]) == 0
    file = Path("a/evaluation.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "columns": json.loads(told)}))
    capsys.readouterr()
    assert main(["compare", "a"]) == 2
    assert "evaluation.json is damaged: it holds no table of numbers" in capsys.readouterr().err


def test_a_recipe_is_no_experiment(write) -> None:
    write(GRID)
    said = problems(Path("base.yaml").resolve())
    assert len(said) == 1
    assert "this is a recipe and no experiment; carry it out with: flowloom run" in said[0]


def test_a_seed_twice_is_said_once(write) -> None:
    assert problems(write(GRID.replace("[0, 1]", "[0, 0, 1]"))) == [
        "study.yaml:7:8: seeds: 0 stands there twice"
    ]
