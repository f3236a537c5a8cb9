"""Every shipped recipe from a folder with a space and an umlaut in its name, in a locale that is not UTF-8,
killed once and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
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
# What the papers' size asks of a machine even for two steps.
SMALLER = {
    "trajectories:neural-process-full": {"data.n": 2000},
    "gflownets:connect-four-full": {
        "feed.capacity": 200, "feed.first": 100, "feed.fresh": 20, "train.batch": 16
    },
}  # fmt: skip
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
RUNNING = """
import json, os, signal, sys
from flowloom_registry.cli import main
from flowloom_registry.runs import train

class Killed(BaseException):
    pass

def killed(way, lists):
    kept = train.save_checkpoint

    def once(trainer, folder):
        file = kept(trainer, folder)
        if way == "hard":
            os.kill(os.getpid(), signal.SIGKILL)
        train.save_checkpoint = kept
        raise Killed

    for words in lists:
        train.save_checkpoint = once
        try:
            code = main(words)
            if code != 0:  # what is missing here was said
                return code
        except Killed:
            assert main(words) == 0, words
    return 0
"""
KILLED = f"{RUNNING}\nsys.exit(killed(sys.argv[1], json.loads(sys.argv[2])))\n"
# The same in forks of a process that has imported what most recipes import: that costs more than two steps.
FORKS = f"""{RUNNING}
import importlib, traceback

for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except Exception:  # it is not there, or says so later
        pass

def carried_out(told):
    signal.alarm(told["seconds"])
    os.chdir(told["folder"].encode())  # in bytes, since this locale has no umlauts
    for file, stream in ((told["out"], 1), (told["err"], 2)):
        os.dup2(os.open(file.encode(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    code = 1
    try:
        code = main(told["words"]) if told["way"] == "whole" else killed(told["way"], [told["words"]])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)

for line in sys.stdin:
    told = json.loads(line)
    child = os.fork()
    if child == 0:
        carried_out(told)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
IMPORTED = (
    "torch._dynamo", "matplotlib.pyplot", "scipy.stats", "scipy.optimize", "sklearn.metrics", "plotly",
    "PIL.Image", "transformers", "torch_geometric.data", "geoopt", "rdkit.Chem.AllChem", "pymatgen.core",
    "flowloom_registry.runs.carry_out", "flowloom_registry.runs.report",
)  # fmt: skip
MISSING = (
    "FLOWLOOM_DATA", "is not installed", "pip install", "there is no file", "there is no folder",
    "no such file", "download", "no layouts at", "couldn't connect",
)  # fmt: skip


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
        train = layer.get("train") or tree.get("train")
        steps = train.get("steps") if isinstance(train, MapNode) else None
        # What trains nothing is to go on doing so.
        kept = {"train.steps"} if steps is not None and plain(steps) == 0 else set()
        said += [f"{prefix}{path}={json.dumps(v)}" for path, v in SHORT.items() if path not in kept]
        said += [f"{prefix}{one}=null" for one in ABSENT if one in layer.entries or one in tree.entries]
    said += [f"{path}={value}" for path, value in SMALLER.get(name, {}).items()]
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


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as there:
        yield there


class Forks:
    """A process that carries out command lines in forks of itself, in a locale that is not UTF-8."""

    def __enter__(self) -> Forks:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS, json.dumps(IMPORTED)],
            env={**os.environ, **NOT_UTF8},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def __call__(self, folder: Path, way: str, words: list[str], seconds: int) -> tuple[int, str]:
        """Exit code, negative for a signal, and what was said on the standard error."""
        out, err = folder.parent / "out", folder.parent / "err"
        asked = {"folder": str(folder), "way": way, "words": words, "seconds": seconds}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**asked, "out": str(out), "err": str(err)}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), err.read_text(errors="replace")


@pytest.mark.slow
@pytest.mark.timeout(1900)
@pytest.mark.parametrize("name", whole_recipes())
def test_every_recipe_runs_from_anywhere_killed_once(folder: Path, forks: Forks, name: str) -> None:
    words = words_of(name, "Lauf eins")
    code, said = forks(folder, "hard", words, seconds=900)
    if code == 2 and any(word.lower() in said.lower() for word in MISSING):
        pytest.skip(said.strip().splitlines()[-1][:300])
    # Recipes that train nothing have no checkpoint to be killed behind.
    assert code in (-signal.SIGKILL, 0), said[-2000:]
    code, said = forks(folder, "whole", words, seconds=900)
    assert code == 0, said[-2000:]
    assert (folder / "Lauf eins" / "report.html").is_file()
