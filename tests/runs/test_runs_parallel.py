"""Several processes train as one does: the same losses, step by step."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORK = Path(__file__).with_name("parallel_losses.py")
TRAIN = "train: {steps: 20, batch: 32, lr: 1.0e-3, log_every: 1, ema: 0.9%s}\n"

# Ragged sets under a pairing; a learned source; dropout of conditions.
PLAIN = """
seed: 1
data: {use: eight-gaussians, n: 500}
source: shifted-gaussian
coupling: {use: optimal-transport}
model: {use: mlp, width: 24, depth: 2}
objective: {use: flow-matching, condition_dropout: 0.2}
"""
# Rows of different length: losses are means over what is real in the whole batch.
PADDED = """
extends: toy-molecules
metrics: []
"""
PLAYERS = """
seed: 1
data: {use: eight-gaussians, n: 500, labelled: false}
source: gaussian
path: {use: affine, schedule: cond-ot}
model: {use: mlp, width: 24, depth: 2}
objective: {use: adversarial-flow, critic: {use: mlp-critic, width: 24, depth: 2}}
solver: {use: flow-map, steps: 1}
"""
FEWSTEP = """
seed: 1
data: {use: checkerboard, n: 500, labelled: false}
model: {use: mlp, width: 24, depth: 2}
objective: {use: meanflow, distinct: 0.75, power: 0.75}
solver: {use: flow-map, steps: 1}
"""
# Features inside the network are compared over the whole batch, and kept from step to step.
INSIDE = """
seed: 1
data: {use: eight-gaussians, n: 500, labelled: false}
model: {use: mlp, width: 24, depth: 2}
objective: {use: memory-bank, block: inner.0, width: 24, dim: 8, queue: 64}
"""


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def trained(jobs: list[Any], folder: Path, processes: int) -> list[Any]:
    """What the first of several processes wrote down."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        environment |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    started = [
        subprocess.Popen(
            [sys.executable, str(WORK), str(folder / "jobs.json"), str(folder / "out.json")],
            env=environment | ({"RANK": str(rank)} if processes > 1 else {}),
            stderr=(folder / f"errors-{rank}").open("w"),
        )
        for rank in range(processes)
    ]
    for rank, process in enumerate(started):
        assert process.wait(timeout=120) == 0, (folder / f"errors-{rank}").read_text()
    found: list[Any] = json.loads((folder / "out.json").read_text())
    return found


RECIPES = {"plain": PLAIN, "players": PLAYERS, "fewstep": FEWSTEP, "padded": PADDED, "inside": INSIDE}
ACCUMULATED = ["train.batch=16", "train.accumulate=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text + TRAIN % "")
    return folder


@pytest.fixture(scope="module")
def alone(home: Path) -> list[Any]:
    jobs = [[str(home / f"{name}.yaml"), []] for name in RECIPES]
    return trained([*jobs, [str(home / "plain.yaml"), ACCUMULATED]], home / "alone", 1)


@pytest.mark.parametrize("engine", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_have_the_losses_of_one(home: Path, alone: list[Any], engine: str) -> None:
    """Network calls split by rows are one batch; rows of one's own are accumulated batches."""
    jobs = [[str(home / f"{name}.yaml"), [f"train.parallel={{engine: {engine}}}"]] for name in RECIPES]
    own = [str(home / "plain.yaml"), [f"train.parallel={{engine: {engine}, batch: own}}"]]
    both = trained([*jobs, own], home / engine, 2)
    for found, expected in zip(both, alone, strict=True):
        assert len(found["lines"]) == len(expected["lines"]) == 20
        for ours, theirs in zip(found["lines"], expected["lines"], strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                within = 1e-5 if name.endswith("grad_norm") else 1e-6
                assert ours[name] == pytest.approx(value, rel=within, abs=within), name
        assert found["ema"] == pytest.approx(expected["ema"], rel=1e-5, abs=1e-6)


def test_the_losses_compared_are_those_of_trainings(alone: list[Any]) -> None:
    for found in alone:
        assert len({line["loss"] for line in found["lines"]}) == 20
    assert alone[0]["lines"] != alone[-1]["lines"], "accumulated batches are coupled one by one"
