"""What the report says of asking tasks in words, and the same words on a command line."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from flowloom_registry.cli import main
from flowloom_registry.numbered import numbered

TASKS = """
from pathlib import Path

from flowloom.errors import IncompatibleError
from flowloom.tasks import Inpaint

Path("imported").touch()


class Told(Inpaint):
    words = "0"

    def __init__(self, file: Path | None = None, name: str = ""):
        super().__init__(name=name)
        self.file = file

    def read(self, given, data, n):
        if self.file is not None and self.file.read_text() != "as it was":
            raise IncompatibleError("another file")
        return super().read(given, data, n)

    def example(self, data):
        return self.words


class Silent(Told):
    def example(self, data):
        raise IncompatibleError("such data cannot be asked about in words")


class Wrong(Told):
    words = "a row that is not there"


class Option(Told):
    words = "-1"
"""
RECIPE = """
data: {use: eight-gaussians, n: 200, labelled: false}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: []
tasks: [{use: ./told.py:Told, file: own.txt}, ./told.py:Silent, ./told.py:Wrong, ./told.py:Option, inpaint]
evaluate: {n: 8, reference: 8, questions: 4, sweep_nfe: []}
train: {steps: 2, batch: 8}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("told")
    (home / "told.py").write_text(TASKS)
    (home / "own.txt").write_text("as it was")
    (home / "r.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["run", "r.yaml", "--out", "runs/a run"]) == 0
    return home / "runs/a run"


def commands(run: Path) -> list[list[str]]:
    """What the report shows, as a shell splits it."""
    shown = re.findall(r"flowloom task [^<\n]+", (run / "report.html").read_text())
    return list(dict.fromkeys(tuple(shlex.split(html.unescape(one))[1:]) for one in shown))


def test_what_the_report_shows_can_be_asked_as_it_stands(run: Path, monkeypatch) -> None:
    """It was run in the project's folder, so that its files are named relative to the run."""
    assert len(commands(run)) >= 2
    monkeypatch.chdir(run.parent.parent)
    for words in commands(run):
        assert "--trust" in words
        assert main(list(words)) == 0


def test_what_cannot_be_read_is_no_example_and_stops_no_run(run: Path) -> None:
    tasks = json.loads((run / "evaluation.json").read_text())["tasks"]
    found = {name: one["example"][0] for name, one in tasks.items()}
    assert found == {"Told": "0", "Silent": "", "Wrong": "", "Option": "", "inpaint": "0"}


def test_files_of_a_task_are_those_of_the_recipe(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["task", str(run), "Told", "0", "--trust", "-n", "1"]) == 0
    # One that is said now lies where the command is given.
    (tmp_path / "own.txt").write_text("other")
    capsys.readouterr()
    assert main(["task", str(run), "Told", "0", "--trust", "--set", "file=own.txt"]) == 2
    assert "another file" in capsys.readouterr().err


def test_code_of_a_run_is_not_imported_unless_it_is_trusted(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for task in ("Told", "inpaint"):
        assert main(["task", str(run), task, "0"]) == 2
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["a-b", "a"], ["a-b", "a"]),
        (["a", "a", "a-2"], ["a", "a-2", "a-2-2"]),
    ],
)
def test_every_name_is_its_own(names: list[str], wanted: list[str]) -> None:
    assert numbered(names) == wanted
