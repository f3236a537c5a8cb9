"""Samples of any number in shards: the same bytes by one process or two, after a kill, after damage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from flowloom.errors import RunError
from flowloom_registry.cli import main
from flowloom_registry.cli.sample import open_drawer
from flowloom_registry.delivery.shards import _whole, write_shards


def asked(run: Path, out: Path, *words: str) -> list[str]:
    return ["sample", str(run), "-n", "430", "--shards", "--shard-rows", "100", "--out", str(out), *words]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


@pytest.fixture(scope="module")
def whole(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "shards"
    assert main(asked(finished, out)) == 0
    return out


def test_the_index_says_what_lies_where(whole: Path) -> None:
    index = json.loads((whole / "index.json").read_text())
    assert index["finished"] is True
    assert [(one["first"], one["rows"]) for one in index["shards"]] == [
        (0, 100),
        (100, 100),
        (200, 100),
        (300, 100),
        (400, 30),
    ]
    assert index["tensors"] == {
        "x": {"dtype": "float32", "shape": [2]},
        "cond.label": {"dtype": "int64", "shape": []},
    }
    drawn = [load_file(whole / one["file"]) for one in index["shards"]]
    x = torch.cat([one["x"] for one in drawn])
    assert x.shape == (430, 2)
    assert x.isfinite().all()
    assert len(x.unique(dim=0)) == 430, "no batch is drawn twice"
    labels = torch.cat([one["cond.label"] for one in drawn])
    assert labels.equal(torch.arange(430) * 8 // 430), "classes are spread over all of them"


def test_two_processes_write_the_same_bytes(finished: Path, whole: Path, tmp_path: Path) -> None:
    assert main(asked(finished, tmp_path / "two", "--jobs", "2")) == 0
    assert contents(tmp_path / "two") == contents(whole)


def test_a_batch_is_a_function_of_its_number(finished: Path, whole: Path, tmp_path: Path) -> None:
    words = ["sample", str(finished), "-n", "430", "--shards", "--shard-rows", "430"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    one = load_file(tmp_path / "one" / "shard-000000.safetensors")["x"]
    several = torch.cat([load_file(file)["x"] for file in sorted(whole.glob("*.safetensors"))])
    assert one.equal(several)


@pytest.mark.slow
def test_a_killed_one_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    words = ["sample", str(finished), "-n", "20000", "--shards", "--shard-rows", "50", "--batch", "50"]
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "flowloom_registry", *words, "--out", str(out)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("shard-*"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("shard-*")}
    assert 3 <= len(before) < 400
    assert main([*words, "--out", str(out)]) == 0
    assert all((out / name).stat().st_mtime_ns == then for name, then in before.items()), "drawn twice"
    assert main([*words, "--out", str(tmp_path / "whole"), "--batch", "50"]) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_what_is_damaged_is_drawn_again(finished: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "damaged"
    assert main(asked(finished, out)) == 0
    first, second, *_ = sorted(out.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-40])
    second.unlink()
    assert main(asked(finished, out)) == 0
    assert contents(out) == contents(whole)


def forgotten(out: Path, file: Path) -> None:
    """A shard that a kill left in place before the index listed it."""
    index = json.loads((out / "index.json").read_text())
    index["shards"] = [one for one in index["shards"] if one["file"] != file.name]
    (out / "index.json").write_text(json.dumps({**index, "finished": False}))


@pytest.mark.parametrize("place", ["number", "header", "seal", "shuffled", "unsealed"])
def test_what_is_damaged_without_a_change_of_size_is_drawn_again(
    finished: Path, whole: Path, tmp_path: Path, place: str
) -> None:
    """Listed or not yet listed, and wherever the damage lies."""
    out = tmp_path / "flipped"
    shutil.copytree(whole, out)
    listed, unlisted, kept, *_ = sorted(out.glob("*.safetensors"))
    for file in (listed, unlisted):
        data = file.read_bytes()
        x = load_file(file)
        changed = bytearray(data)
        if place == "number":
            changed[-100] ^= 1
        elif place == "header":
            changed[changed.index(b'"x"') + 1] = ord("y")
        elif place == "seal":
            changed[changed.index(b'"sha256"') + 12] ^= 1
        elif place == "shuffled":
            last = x["x"].numpy().tobytes()
            at = data.index(last)
            changed[at : at + len(last)] = last[8:] + last[:8]
        else:
            changed = bytearray(save({**x, "x": x["x"].flip(0)}))
        file.write_bytes(bytes(changed))
    for file in (unlisted, kept):
        forgotten(out, file)
    then = kept.stat().st_mtime_ns
    assert main(asked(finished, out)) == 0
    assert contents(out) == contents(whole)
    assert kept.stat().st_mtime_ns == then, "a whole one is not drawn twice"


def test_what_has_no_rows_is_no_shard(tmp_path: Path) -> None:
    file = tmp_path / "foreign.safetensors"
    for data in (save({"x": torch.tensor(1.0)}), save({}), b""):
        file.write_bytes(data)
        assert not _whole(file, 1)


class TestBadInput:
    def refused(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
        assert main(words) == 2
        err = capsys.readouterr().err
        assert len(err.strip().splitlines()) == 1, err
        return err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--seed", "1"], "seed: 0 -> 1"),
            (["--batch", "20"], "batch: 50 -> 20"),
            (["--cond", "label=3"], "asked.cond: [] -> ['label=3']"),
            (["--steps", "3"], "asked.steps: None -> 3"),
            (["--jobs", "0"], "--jobs must be at least 1"),
            (["-n", "0"], "a whole number from 1"),
            (["--cond", "label=9"], "0 to 7"),
        ],
    )
    def test_other_samples_lie_there(self, finished, whole, capsys, words, said):
        before = contents(whole)
        assert said in self.refused([*asked(finished, whole), *words], capsys)
        assert contents(whole) == before

    def test_a_foreign_folder(self, finished, tmp_path, capsys):
        (tmp_path / "thesis.tex").write_text("important")
        assert "thesis.tex" in self.refused(asked(finished, tmp_path), capsys)

    def test_words_for_shards_alone(self, finished, capsys):
        assert "--shards" in self.refused(["sample", str(finished), "--jobs", "2"], capsys)

    def test_a_process_that_dies(self, finished, tmp_path, monkeypatch):
        (tmp_path / "dying_drawer.py").write_text(
            "import multiprocessing, os\n"
            "from flowloom_registry.cli.sample import open_drawer\n"
            "def make(path, device):\n"
            "    if multiprocessing.parent_process() is not None:\n"
            "        os._exit(9)\n"
            "    return open_drawer(path, 200, (), None, None, 0, False, device)\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        from dying_drawer import make

        with pytest.raises(RunError, match="ended with code 9; the same command goes on"):
            write_shards(partial(make, finished), tmp_path / "out", device="cpu", shard_rows=50, jobs=2)
        whole = partial(open_drawer, finished, 200, (), None, None, 0, False)
        assert write_shards(whole, tmp_path / "out", device="cpu", shard_rows=50)["finished"]
