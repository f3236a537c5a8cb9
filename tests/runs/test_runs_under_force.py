# ruff: noqa: E501  (recipes and messages are single lines)
"""Runs under force: folders laid out by somebody else, damage, kills, full disks, and parts that fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from flowloom.data import Tensors
from flowloom.errors import RunError
from flowloom.training import checkpoint
from flowloom_registry import load
from flowloom_registry.cli import main
from flowloom_registry.runs.same_data import data_as_json, require_same_data

RECIPE = """
data: {use: eight-gaussians, n: 200}
codec: standardize
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 6, batch: 8, checkpoint_every: 2, log_every: 1}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("force")
    (folder / "tiny.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def cut(run: Path) -> Path:
    """A run that was killed after its last but one checkpoint."""
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    (run / "flow.safetensors").unlink()
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "training", "step": 4}))
    return run


def recipe(tmp_path: Path, *changes: tuple[str, str], extra: str = "") -> Path:
    text = RECIPE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "r.yaml").write_text(text + extra, encoding="utf-8")
    return tmp_path / "r.yaml"


# -- states that a run is found in --------------------------------------------------------------------


def test_an_unfinished_run_is_sampled_through_its_fitted_codec(cut: Path, finished: Path) -> None:
    for folder in (cut, finished):
        codec = load(folder).flow.codec
        assert codec.std.min() > 1, "the data has a standard deviation of about 2.8"


def test_a_codec_is_not_fitted_again_when_a_run_goes_on(cut: Path, finished: Path, monkeypatch) -> None:
    from flowloom.codecs import Standardize

    def fit(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Standardize, "fit", fit)
    assert main(["run", str(cut)]) == 0
    assert (cut / "flow.safetensors").read_bytes() == (finished / "flow.safetensors").read_bytes()


@pytest.mark.parametrize("name", [".recipe.yaml.12345", ".DS_Store"])
def test_a_start_that_was_cut_off_can_be_given_again(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"")
    assert main(["run", str(recipe(tmp_path)), "--out", str(out)]) == 0
    assert (out / name).exists() is (name == ".DS_Store"), "what flowloom left there is swept up"


def test_another_run_that_began_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch, capsys) -> None:
    from flowloom_registry.runs import carry_out

    assemble, out = carry_out.assemble, tmp_path / "out"
    other = recipe(tmp_path, ("batch: 8", "batch: 16")).rename(tmp_path / "other.yaml")

    def slowly(given):
        assembly = assemble(given)
        monkeypatch.setattr(carry_out, "assemble", assemble)
        assert main(["run", str(other), "--out", str(out)]) == 0
        return assembly

    monkeypatch.setattr(carry_out, "assemble", slowly)
    assert main(["run", str(recipe(tmp_path)), "--out", str(out)]) == 2
    assert "holds a run of another recipe" in capsys.readouterr().err
    assert "batch: 16" in (out / "recipe.yaml").read_text()


# -- damage -------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_passed_over_for_the_checkpoint_before(cut: Path, finished: Path) -> None:
    latest = cut / "checkpoints" / "step-00000004" / "flow.safetensors"
    data = bytearray(latest.read_bytes())
    data[-6] ^= 16
    latest.write_bytes(data)
    assert main(["run", str(cut)]) == 2, "the only one that is kept is damaged"
    shutil.copytree(finished / "checkpoints" / "step-00000006", cut / "checkpoints" / "step-00000008")
    assert main(["run", str(cut)]) == 2, "its name is not its step"


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_weights_of_the_end_are_made_again_from_the_last_checkpoint(run: Path, damage: str, capsys) -> None:
    file = run / "flow.safetensors"
    before = file.read_bytes()
    if damage == "cut":
        file.write_bytes(before[:100])
        assert main(["sample", str(run), "-n", "2"]) == 2
        said = capsys.readouterr().err
        assert f"flowloom run {run} makes it again from {run / 'checkpoints' / 'step-00000006'}" in said
    else:
        file.unlink()
    assert main(["run", str(run)]) == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("key", ["step", "seed", "sha256"])
def test_a_checkpoint_that_lies_about_itself_is_refused(cut: Path, key: str, capsys) -> None:
    file = cut / "checkpoints" / "step-00000004" / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, key: 3 if key != "sha256" else {}}))
    assert main(["run", str(cut)]) == 2
    assert "step-00000004" in capsys.readouterr().err


def test_half_deleted_checkpoints_and_strangers_do_not_count(tmp_path: Path) -> None:
    for name in ("step-00000002", "step-00000004", "step-00000006", "step-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    (tmp_path / "step-00000002" / "state.json").unlink()
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == [
        "step-00000004",
        "step-00000006",
    ]
    checkpoint.prune(tmp_path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000006", "step-old"]


def test_what_is_deleted_is_renamed_first(tmp_path: Path, monkeypatch) -> None:
    def killed(folder, **_):
        raise KeyboardInterrupt

    for step in (2, 4):
        (tmp_path / f"step-{step:08d}").mkdir()
        (tmp_path / f"step-{step:08d}" / "state.json").write_text("{}")
    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.prune(tmp_path, 1)
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-00000004"]


def test_a_disk_that_fills_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    assert main(["run", str(recipe(tmp_path)), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "No space left" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "out" / "checkpoints").glob(".partial-*"))


def test_a_report_that_was_not_written_is_not_named(tmp_path: Path, monkeypatch, capsys) -> None:
    def full(*_: object) -> None:
        raise RunError("cannot write report.html: No space left on device")

    monkeypatch.setattr("flowloom_registry.runs.carry_out.write_report", full)
    assert main(["run", str(recipe(tmp_path)), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "the report failed: cannot write" in said
    assert "report: " not in said


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\udcff", "[" * 100_000, '{"format": 2}'])
@pytest.mark.parametrize("name", ["status.json", "environment.json", "data.json", "metrics.jsonl"])
def test_damaged_files_of_a_run_are_one_line(run: Path, name: str, content: str, capsys) -> None:
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    code = main(["eval", str(run), "-n", "20"])
    err = capsys.readouterr().err
    assert code in (0, 2)
    assert "Traceback" not in err
    assert code == 0 or name in err or "is not what" in err


# -- links and names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "samples", "checkpoints"])
def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path, name: str, capsys) -> None:
    victim = tmp_path / "victim"
    if name in ("samples", "checkpoints"):
        shutil.move(run / name, victim)
    else:
        victim.write_text("precious")
        (run / name).unlink()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (victim, *victim.glob("**/*")))
    (run / name).symlink_to(victim)
    assert main(["eval", str(run)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert sorted((p.name, p.stat().st_mtime_ns) for p in (victim, *victim.glob("**/*"))) == before


def test_temporary_files_are_not_written_through_either(tmp_path: Path) -> None:
    from flowloom_registry.runs.folder import write_text

    (tmp_path / "victim").write_text("precious")
    (tmp_path / f".a.json.{os.getpid()}").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("filename", ["../victim.csv", "/tmp/victim.csv", ".hidden"])
def test_a_table_of_metrics_lies_in_the_run_folder(filename: str) -> None:
    from flowloom.trackers import CSVTracker

    with pytest.raises(ValueError, match="a file in the run folder"):
        CSVTracker(filename)


@pytest.mark.parametrize("name", ["..", "../climbed", "/abs", ".hidden", "a/b"])
def test_a_recipes_name_is_no_path(tmp_path: Path, monkeypatch, name: str, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    file = recipe(tmp_path, extra=f'name: "{name}"\n')
    assert main(["run", str(file)]) == 2
    assert "names no folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


# -- parts that fail ----------------------------------------------------------------------------------


def test_sweep_solvers_of_a_run_that_is_not_trusted_run_no_code(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "x.py").write_text(
        f"open({str(tmp_path / 'PWNED')!r}, 'w')\nfrom flowloom.solvers import Euler as S\n"
    )
    text = (run / "recipe.yaml").read_text()
    text = text.replace("sweep_solvers: []", f"sweep_solvers: ['{tmp_path / 'x.py'}:S']")
    (run / "recipe.yaml").write_text(text.replace("sweep_nfe: []", "sweep_nfe: [2]"))
    main(["eval", str(run)])
    said = "".join(capsys.readouterr())
    assert "no installed plugin lists" in " ".join(said.split())
    assert not (tmp_path / "PWNED").exists()


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path: Path, capsys) -> None:
    (tmp_path / "t.py").write_text(
        "from flowloom.trackers import Tracker\n"
        "class Down(Tracker):\n"
        "    def start(self, folder, recipe):\n        raise ConnectionError('down')\n"
        "    def log(self, step, metrics):\n        metrics.clear()\n        raise ConnectionError('down')\n"
        "    def finish(self, results):\n        raise ConnectionError('down')\n"
    )
    file = recipe(tmp_path, extra="trackers: ['./t.py:Down', csv]\n")
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("tracker Down failed: ConnectionError: down") == 1


def test_sys_exit_of_a_component_is_no_success(tmp_path: Path, capsys) -> None:
    (tmp_path / "nets.py").write_text("import sys\nfrom flowloom.models import MLP as M\nsys.exit(0)\n")
    file = recipe(tmp_path, ("{use: mlp, width: 8, depth: 1}", "./nets.py:M"))
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "raised SystemExit" in capsys.readouterr().err
    (tmp_path / "late.py").write_text(
        "import sys\nfrom flowloom.solvers import Euler\n"
        "class S(Euler):\n    def solve(self, *a, **k):\n        sys.exit(0)\n"
    )
    file = recipe(tmp_path, ("{use: euler, steps: 2}", "{use: './late.py:S', steps: 2}"))
    assert main(["run", str(file), "--out", str(tmp_path / "late")]) == 2
    assert "called sys.exit(0)" in capsys.readouterr().err


def test_other_data_under_the_same_name_is_noticed(cut: Path, tmp_path: Path, capsys) -> None:
    for name, text in (("a", "abcde "), ("b", "edcba ")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.txt").write_text(text * 500)
    (tmp_path / "a" / "r.yaml").write_text(
        "extends: markov\ndata: {use: text, file: t.txt, length: 12}\nscores: []\nmetrics: []\ntasks: []\nrenderer: null\n"
        "model: {use: sequence-transformer, width: 16, depth: 1, heads: 2}\nsample: {n: 2, frames: 2, rows: 2}\n"
        "train: {steps: 2, batch: 4, checkpoint_every: 1}\n"
    )
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "a" / "r.yaml"), "--out", str(out)]) == 0
    shutil.copy(tmp_path / "b" / "t.txt", tmp_path / "a" / "t.txt")
    assert main(["run", str(out)]) == 2
    assert "its rows hold other values" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_other_labels_and_other_small_values_are_noticed(tmp_path: Path, scale: float) -> None:
    def tensors(seed: int, by: int) -> Tensors:
        draws = torch.Generator().manual_seed(seed)
        x = scale * torch.randn(50, 2, generator=draws)
        return Tensors(x, {"label": (torch.arange(50) + by) % 3})

    file, data = tmp_path / "data.json", tensors(0, 0)
    kept = data_as_json(data.spec, data)
    file.write_text(json.dumps(kept))
    require_same_data(file, data.spec, data)
    with pytest.raises(RunError, match="other values of condition 'label'"):
        require_same_data(file, data.spec, tensors(0, 1))
    with pytest.raises(RunError, match="its rows hold other values;"):
        require_same_data(file, data.spec, tensors(1, 0))
    # Older runs have no sums of conditions; they go on.
    file.write_text(json.dumps(kept | {"sums": {"x": kept["sums"]["x"]}}))
    require_same_data(file, data.spec, tensors(0, 1))


def test_another_number_of_threads_is_told(run: Path, capsys) -> None:
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, "threads": 64}))
    assert main(["run", str(run), "--device", "cpu"]) == 0
    assert "begun with 64 threads" in capsys.readouterr().err


# -- text and numbers ---------------------------------------------------------------------------------


def test_a_run_in_a_locale_that_is_not_utf8(tmp_path: Path) -> None:
    file, out = recipe(tmp_path, extra="summary: Köln\ntrackers: [csv]\n"), str(tmp_path / "out")
    again = ["eval", out, "--out", "again", "--set", "solver.steps=3"]
    both = [["run", str(file), "--out", out], again]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from flowloom_registry.cli import main; raise SystemExit(any([main(w) for w in {both}]))",
        ],
        env={
            **os.environ,
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": "utf-8",
        },
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "Köln" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_an_evaluation_of_its_own_stays_in_the_run_and_leaves_nothing_behind(
    run: Path, tmp_path: Path, capsys
) -> None:
    place, elsewhere = run / "evaluations" / "more", tmp_path / "elsewhere"
    place.mkdir(parents=True)
    (place / ".evaluation.json.4242").write_text("cut")
    (place / ".report.html.4242").write_text("cut")
    assert main(["eval", str(run), "--out", "more"]) == 0
    assert not [file.name for file in place.iterdir() if file.name.startswith(".")]
    elsewhere.mkdir()
    (run / "evaluations" / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert main(["eval", str(run), "--out", "linked"]) == 2
    assert "is a link" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("batch: 8", "batch: 8, lr: .nan", "NaN is no setting"),
        ("{use: euler, steps: 2}", "{use: dopri5, rtol: .nan}", "NaN is no setting"),
        ("{use: euler, steps: 2}", "{use: euler, grid: [0, .nan, 1]}", "NaN is no setting"),
        ("depth: 1", "depth: 0", "depth must be at least 1"),
    ],
)
def test_numbers_that_cannot_be_are_told_with_their_place(tmp_path: Path, old, new, told, capsys) -> None:
    file = recipe(tmp_path, (old, new))
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert f"{file}:" in err
    assert not (tmp_path / "out").exists()


def test_a_recipe_may_be_mended_before_the_first_step(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    wrong = recipe(tmp_path, extra="coupling: {use: optimal-transport, within: lable}\n")
    assert main(["run", str(wrong), "--out", str(out)]) == 2
    assert "lable" in capsys.readouterr().err
    right = recipe(tmp_path, extra="coupling: {use: optimal-transport, within: label}\n")
    assert main(["run", str(right), "--out", str(out)]) == 0
    assert "within: label\n" in (out / "recipe.yaml").read_text()
    assert main(["run", str(recipe(tmp_path)), "--out", str(out)]) == 2, "now there is something to lose"
    assert "another recipe" in capsys.readouterr().err
