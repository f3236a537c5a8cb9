"""Damaged run folders: any file is cut, spoiled, emptied, replaced or taken away, and commands are asked."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from flowloom_registry.cli import main

RECIPE = """
extends: eight-gaussians
name: small
data: {n: 200}
model: {width: 8, depth: 1}
train: {steps: 6, batch: 16, checkpoint_every: 3}
evaluate: {n: 20, reference: 20, sweep_nfe: [1]}
sample: {n: 4, rows: 2}
"""
COMMANDS = ("run", "sample", "eval")
ROUNDS, EACH = 8, 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "small.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "small.yaml"), "--out", str(folder / "whole"), "--device", "cpu"]) == 0
    return folder / "whole"


def damage(run: Path, draws: random.Random) -> str:
    """Spoil one file, and say what was done."""
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
    file = draws.choice(files)
    data, way = file.read_bytes(), draws.randrange(8)
    if way == 0:
        file.unlink()
    elif way == 1:
        file.write_bytes(b"")
    elif way == 2:
        file.write_bytes(data[: draws.randrange(len(data) + 1)])
    elif way == 3:
        at = draws.randrange(max(1, len(data)))
        file.write_bytes(data[:at] + bytes([draws.randrange(256)]) + data[at + 1 :])
    elif way == 4:
        file.write_bytes(bytes(draws.randrange(256) for _ in range(200)))
    elif way == 5:
        file.write_bytes(draws.choice([b"[]", b"{}", b"null", b"1", b'{"state": 3}', b"[" * 100_000]))
    elif way == 6:
        file.unlink()
        file.mkdir()
    else:
        other = draws.choice(files)
        file.write_bytes(other.read_bytes())
    return f"{file.relative_to(run)}, way {way}"


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_a_damaged_run_is_used_or_told_in_one_line(
    round_: int, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draws = random.Random(round_)
    for i in range(EACH):
        run = tmp_path / f"run{i}"
        shutil.copytree(finished, run)
        what, command = damage(run, draws), draws.choice(COMMANDS)
        extra = ["--out", str(tmp_path / f"samples{i}"), "-n", "2"] if command == "sample" else []
        try:
            code = main([command, str(run), *extra, "--device", "cpu"])
        except Exception as error:
            pytest.fail(f"{command}: {what}: {type(error).__name__}: {error}")
        told = capsys.readouterr().err.strip()
        assert code in (0, 2), what
        if code == 2:
            assert told, what
            assert "Traceback" not in told, what
            assert len(told.splitlines()) <= 4, f"{what}: {told}"
        shutil.rmtree(run)
