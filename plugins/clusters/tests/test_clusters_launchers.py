"""An experiment as a Slurm array (a fake sbatch runs its lines) and on Ray: what it gives on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flowloom.errors import FlowloomError, MissingDependencyError
from flowloom_clusters.on_ray import OnRay
from flowloom_clusters.slurm import Slurm, _lines_to_paste
from flowloom_registry import Experiment
from flowloom_registry.cli import main
from flowloom_registry.studies.folder import FINISHED, StudyFolder
from flowloom_registry.studies.launchers import Launching

BASE = """
data: {use: eight-gaussians, n: 200, labelled: false}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 4, batch: 8}
"""
STUDY = """
name: study
recipe: base.yaml
arms:
  fm: {objective: flow-matching}
  heun: {solver: {use: heun, steps: 1}, trains: fm}
"""

SBATCH = """#!/bin/bash
# What a cluster does with an array, without the cluster: every task in turn, output where the script says.
script="${@: -1}"
echo "$@" >> "$FAKE_LOG"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
out=$(sed -n 's/^#SBATCH --output=//p' "$script")
for i in $(seq 0 "$last"); do
  if [ "$FAKE_KILLED" != "$i" ]; then SLURM_ARRAY_TASK_ID=$i bash "$script" > "${out//%a/$i}" 2>&1; fi
done
echo "42;fake"
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "bin" / "sbatch"
    file.parent.mkdir()
    file.write_text(SBATCH)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "asked.txt"))
    monkeypatch.setenv("FAKE_KILLED", "none")
    return tmp_path / "asked.txt"


def tables(folder: Path) -> dict[str, object]:
    """What every cell's evaluation says, without what it took."""
    found = {}
    for file in sorted(folder.rglob("evaluation.json")):
        value = json.loads(file.read_text())
        found[str(file.relative_to(folder))] = value["columns"]
    return found


@pytest.mark.slow
def test_a_slurm_array_gives_what_this_machine_gives(study: Path, sbatch: Path, tmp_path: Path) -> None:
    words = ["experiment", str(study), "--launcher", "slurm", "--launch", "submit=true", "--launch", "most=2"]
    options = "options={partition: gpu, time: 01:00:00}"
    assert main([*words, "--launch", options, "--out", str(tmp_path / "array")]) == 0
    Experiment(study, tmp_path / "here").run()
    assert tables(tmp_path / "array" / "cells") == tables(tmp_path / "here" / "cells")
    assert (tmp_path / "array" / "results.csv").is_file()
    asked = sbatch.read_text().splitlines()
    assert [line.rpartition("/")[2] for line in asked] == ["cells.sh", "asked.sh"], "weights come first"
    script = (tmp_path / "array/slurm/cells.sh").read_text()
    assert "#SBATCH --array=0-0%2" in script
    assert "#SBATCH --partition=gpu" in script
    assert "#SBATCH --time=01:00:00" in script


@pytest.mark.slow
def test_scripts_alone(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment", str(study), "--out", str(tmp_path / "array")]
    assert main([*words, "--launcher", "slurm"]) == 0
    said = capsys.readouterr().err
    lines = said.strip().splitlines()[-2:]
    assert re.fullmatch(r"J=\$\(sbatch --parsable \S*array/slurm/cells\.sh\)", lines[0])
    assert re.fullmatch(r"sbatch --dependency=afterany:\$J \S*array/slurm/asked\.sh", lines[1])
    script = tmp_path / "array/slurm/cells.sh"
    done = subprocess.run(
        ["bash", str(script)], env={**os.environ, "SLURM_ARRAY_TASK_ID": "0"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    experiment = Experiment(study, tmp_path / "array")
    states = {
        cell.labels["arm"]: experiment.folder.state(cell.name).state for cell in experiment.design.cells
    }
    assert states["fm"] == FINISHED
    assert states["heun"] != FINISHED


def test_a_folder_with_a_space_in_its_name(study: Path, tmp_path: Path) -> None:
    """Slurm ends a value at a space that stands outside of quotes, and replaces what follows a %."""
    place = tmp_path / "50% off"
    text = Slurm({"comment": 'the "first"'}).script(
        Launching([], StudyFolder(place), None, list, print, ["x"]), place / "slurm" / "cells.txt", []
    )
    assert f'#SBATCH --output="{tmp_path}/50%% off/slurm/cells-%a.log"' in text
    assert '#SBATCH --job-name="flowloom-50% off"' in text
    assert '#SBATCH --comment="the \\"first\\""' in text
    assert _lines_to_paste([place / "cells.sh", place / "asked.sh"]) == [
        f"J=$(sbatch --parsable '{place}/cells.sh')",
        f"sbatch --dependency=afterany:$J '{place}/asked.sh'",
    ]


@pytest.mark.slow
def test_a_task_that_is_killed_is_told_and_launched_again(
    study: Path, sbatch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    words = ["experiment", str(study), "--launcher", "slurm", "--launch", "submit=true"]
    monkeypatch.setenv("FAKE_KILLED", "0")
    assert main([*words, "--out", str(tmp_path / "array")]) == 1
    assert "its task of job 42 ended without a word" in capsys.readouterr().err
    monkeypatch.setenv("FAKE_KILLED", "none")
    assert main([*words, "--out", str(tmp_path / "array")]) == 0


class TestBadInput:
    def test_slurm(self, study, monkeypatch, capsys):
        with pytest.raises(FlowloomError, match="sets --array itself"):
            Slurm({"array": "0-9"})
        with pytest.raises(FlowloomError, match="one line"):
            Slurm({"comment": "a\nrm -rf /"})
        with pytest.raises(FlowloomError, match="most"):
            Slurm(most=0)
        monkeypatch.setenv("PATH", "/nowhere")
        assert main(["experiment", str(study), "--launcher", "slurm", "--launch", "submit=true"]) == 2
        assert "there is no 'sbatch' here" in capsys.readouterr().err
        assert {file.name for file in study.parent.iterdir()} == {"base.yaml", "study.yaml"}, (
            "nothing written"
        )

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--launcher", "slrum"], "slurm"),
            (["--launch", "most=2"], "--launcher, which is not given"),
            (["--launcher", "slurm", "--jobs", "2"], "--jobs"),
            (["--launcher", "slurm", "--launch", "mots=2"], "most"),
            (["--cell", "fm-0"], "there is no cell 'fm-0'"),
        ],
    )
    def test_words(self, study, capsys, words, said):
        assert main(["experiment", str(study), *words]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1

    def test_ray_is_not_there(self, monkeypatch):
        monkeypatch.setattr("flowloom_clusters.on_ray.find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match=r"flowloom-clusters\[ray\]"):
            OnRay()


DYING = """
import os
from pathlib import Path
from flowloom.data import EightGaussians

class Dying(EightGaussians):
    def __init__(self, n: int = 200) -> None:
        super().__init__(n, labelled=False)
        marker = Path(__file__).with_name("died")
        if os.environ.get("FLOWLOOM_TEST_PARENT") != str(os.getpid()) and not marker.exists():
            marker.write_text("once")
            os._exit(9)
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'flowloom-clusters[ray]'")
@pytest.mark.slow
def test_ray_gives_what_this_machine_gives_and_begins_again(study: Path, tmp_path: Path) -> None:
    """Two workers, one of which dies under its cell; in a process of its own, for Ray opens sockets."""
    (tmp_path / "dying.py").write_text(DYING)
    whole = "{use: eight-gaussians, n: 200, labelled: false}"
    (tmp_path / "base.yaml").write_text(BASE.replace(whole, "{use: './dying.py:Dying'}"))
    code = (
        "import os, sys; os.environ['FLOWLOOM_TEST_PARENT'] = str(os.getpid())\n"
        "from flowloom_registry.cli import main\n"
        f"words = ['experiment', {str(study)!r}, '--seeds', '0,1']\n"
        f"assert main([*words, '--out', {str(tmp_path / 'ray')!r}, '--launcher', 'ray']) == 0\n"
        f"assert main([*words, '--out', {str(tmp_path / 'here')!r}]) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").is_file(), "a worker died"
    here = tables(tmp_path / "here" / "cells")
    assert len(here) == 4
    assert tables(tmp_path / "ray" / "cells") == here
