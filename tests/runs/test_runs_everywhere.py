"""Every shipped recipe from a folder with a space and an umlaut in its name, in a locale that is not UTF-8,
killed once and continued."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowloom_registry.config.nodes import ListNode, MapNode, plain
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.plugins.discovery import catalog

SHORT = {
    "train.steps": 2,
    "train.checkpoint_every": 1,
    "train.log_every": 1,
    "evaluate.n": 20,
    "evaluate.reference": 40,
    "evaluate.sweep_nfe": [],
    "sample.n": 4,
    "sample.rows": 1,
    "sample.frames": 2,
}
# Judges and claims are tested where they live, and some train networks of their own.
ABSENT = ("metrics", "scores", "tasks", "validate", "baselines")
NOT_UTF8 = {
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "OMP_NUM_THREADS": "1",
}
# Runs the command line and kills its own process behind the first checkpoint, or, with 'softly', goes on to
# run the same words again, for every list of words it is given.
KILLED = """
import json, os, signal, sys
from flowloom_registry.cli import main
from flowloom_registry.runs import train

kept, softly = train.save_checkpoint, sys.argv[1] == "softly"

class Killed(BaseException):
    pass

def once(trainer, folder):
    file = kept(trainer, folder)
    if not softly:
        os.kill(os.getpid(), signal.SIGKILL)
    train.save_checkpoint = kept
    raise Killed

for words in json.loads(sys.argv[2]):
    train.save_checkpoint = once
    try:
        code = main(words)
        if code != 0:  # what is missing here was said
            sys.exit(code)
    except Killed:
        assert main(words) == 0, words
"""
MISSING = ("FLOWLOOM_DATA", "is not installed", "pip install", "there is no file", "no such file", "download")


def whole_recipes() -> list[str]:
    """Recipes that have all that a run needs; the others are parts, laid over one of these."""
    found = []
    for row in catalog().recipes:
        tree = load_recipe(row.qualified).tree
        stages = tree.get("stages")
        layers = [tree]
        if isinstance(stages, ListNode):
            layers += [item for item in stages.items if isinstance(item, MapNode)]
        said = {name for layer in layers for name in layer.entries}
        if "model" in said and said & {"data", "feed"}:
            found.append(row.qualified)
    return sorted(found)


def short(name: str) -> list[str]:
    """``--set`` words that make a recipe two steps long, or every one of its stages."""
    tree = load_recipe(name).tree
    stages = tree.get("stages")
    items = stages.items if isinstance(stages, ListNode) else ()
    layers = [(f"stages.{plain(one)['name']}.", one) for one in items] or [("", tree)]
    said = []
    for prefix, layer in layers:
        said += [f"{prefix}{path}={json.dumps(value)}" for path, value in SHORT.items()]
        said += [f"{prefix}{one}=null" for one in ABSENT if one in layer.entries or one in tree.entries]
    return [word for text in said for word in ("--set", text)]


def words_of(name: str, out: str) -> list[str]:
    return ["run", name, *short(name), "--device", "cpu", "--out", out]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "Läufe von heute"
    place.mkdir()
    return place


def start(folder: Path, way: str, *words: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", KILLED, way, json.dumps(words)]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **NOT_UTF8}, capture_output=True, check=False, timeout=seconds
    )


def test_core_recipes_run_from_anywhere_and_go_on(folder: Path) -> None:
    names = [name for name in whole_recipes() if name.startswith("core:")]
    assert len(names) >= 5
    chosen = ["core:eight-gaussians", "core:toy-molecules", "core:noisy-classifier"]
    done = start(folder, "softly", *(words_of(n, f"Lauf {i}") for i, n in enumerate(chosen)), seconds=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    for i in range(len(chosen)):
        run = folder / f"Lauf {i}"
        assert json.loads((run / "status.json").read_text())["state"] == "finished"
        assert (run / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", whole_recipes())
def test_every_recipe_runs_from_anywhere_killed_once(folder: Path, name: str) -> None:
    words = words_of(name, "Lauf eins")
    killed = start(folder, "hard", words, seconds=400)
    said = killed.stderr.decode(errors="replace")
    if killed.returncode == 2 and any(word in said for word in MISSING):
        pytest.skip(said.strip().splitlines()[-1][:300])
    # Recipes that train nothing have no checkpoint to be killed behind.
    assert killed.returncode in (-9, 0), said[-2000:]
    again = subprocess.run(
        [sys.executable, "-m", "flowloom_registry", *words],
        cwd=folder, env={**os.environ, **NOT_UTF8}, capture_output=True, check=False, timeout=400,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr.decode(errors="replace")[-2000:]
    assert (folder / "Lauf eins" / "report.html").is_file()
