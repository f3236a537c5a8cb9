"""What tests of the project and of its plugins share: one seed, and runs in a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

# A shell that starts the tests in the background has interrupts ignored, which children inherit: tests of
# interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws without a generator of its own is the same every time, whatever ran before it."""
    torch.manual_seed(0)


class Apart:
    """Starts runs, waits for them to come somewhere, and lets them end."""

    @staticmethod
    def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
        """``flowloom run``, of a recipe into a folder."""
        command = [sys.executable, "-m", "flowloom_registry", "run", str(recipe), "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    @staticmethod
    def finish(process: subprocess.Popen[str], seconds: float = 120) -> None:
        """Wait for its end, which has to be a good one."""
        _, errors = process.communicate(timeout=seconds)
        assert process.returncode == 0, errors

    @staticmethod
    def wait_for_step(out: Path, step: int, process: subprocess.Popen[str], seconds: float = 90) -> None:
        """Wait until it has logged a step; it must not have ended before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            lines = (
                (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else []
            )
            if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
                return
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        raise AssertionError("the run never got that far")


@pytest.fixture(scope="session")
def apart() -> type[Apart]:
    """Runs in a process of their own."""
    return Apart
