"""Processes started by hand find each other, or say soon that they did not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

IN_TWO_SECONDS = """
import sys
from datetime import timedelta
from flowloom_registry.cli import processes
from flowloom_registry.cli.main import main
processes._MEETING = timedelta(seconds=2)
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("rank", "taken"),
    [
        (1, True),  # by a server that is none of ours, and does not answer
        pytest.param(1, False, marks=pytest.mark.slow),  # where nobody listens
        pytest.param(0, False, marks=pytest.mark.slow),  # whom nobody joins
    ],
)
def test_who_is_alone_says_so_in_one_line_and_ends(
    recipe: Path, tmp_path: Path, rank: int, taken: bool
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        if taken:
            other.listen()
        else:
            other.close()
        told = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ended = subprocess.run(
            [sys.executable, "-c", IN_TWO_SECONDS, "run", str(recipe), "--out", str(tmp_path / "run")],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert f"process {rank} of 2 waited 2 s at 127.0.0.1:{port}" in line
    assert "MASTER_PORT" in line
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_told_in_one_line(recipe: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [
            sys.executable,
            "-m",
            "flowloom_registry",
            "run",
            str(recipe),
            "--out",
            str(tmp_path / "run"),
        ]
        ended = subprocess.run(
            command, env={**os.environ, **told}, capture_output=True, text=True, timeout=100, check=False
        )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "MASTER_PORT" in line
