"""Runs of two processes on this machine."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name: tiny
seed: 3
data: {use: eight-gaussians, n: 2000}
coupling: {use: optimal-transport, within: label}
model: {use: mlp, width: 32, depth: 2}
objective: {use: flow-matching, condition_dropout: 0.2}
solver: {use: euler, steps: 2}
train: {steps: 120, batch: 64, checkpoint_every: 20, log_every: 10, ema: 0.99}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(RECIPE)
    return file


class Two:
    """Two processes of ``flowloom run`` on this machine."""

    def __init__(self, *words: object, small: int | None = None) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = str(one.getsockname()[1])
        told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "flowloom_registry", "run", *map(str, words)]

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (small or 0, small or 0))

        self.processes = [
            subprocess.Popen(
                command,
                env={**os.environ, **told, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=limited if small and rank == 0 else None,
            )
            for rank in range(2)
        ]

    def ended(self) -> tuple[list[int], list[list[str]]]:
        """How each ended, and the lines that each told; the first one's progress is no telling."""
        told = [process.communicate(timeout=400)[1].splitlines() for process in self.processes]
        return [process.returncode for process in self.processes], told


@pytest.fixture(scope="session")
def pair() -> type[Two]:
    """Two processes of a command."""
    return Two
