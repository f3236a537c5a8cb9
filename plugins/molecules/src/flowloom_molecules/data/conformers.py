"""Many molecules embedded by several processes at once, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowloom.errors import MissingDependencyError


class _Worker:
    """One embedding process; restarted when a molecule takes it down or takes too long."""

    def __init__(self, settings: Mapping[str, Any], seconds: float) -> None:
        self.settings, self.seconds = settings, seconds
        self.process: subprocess.Popen[str] | None = None

    def embed(self, smiles: str) -> dict[str, Any]:
        process = self.process or self._start()
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(self.seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(smiles) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (BrokenPipeError, OSError):
            line = ""
        finally:
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        return {"reason": f"RDKit crashed, or took more than {self.seconds:.0f} s"}

    def _start(self) -> subprocess.Popen[str]:
        program = str(Path(__file__).with_name("conform.py"))
        self.process = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.settings) + "\n")
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.process = None


def conformers(
    smiles: Sequence[str], settings: Mapping[str, Any], workers: int | None = None, seconds: float = 60.0
) -> list[dict[str, Any]]:
    """An answer of `conform.embed` for every SMILES, in order; the answer does not depend on the workers.

    Args:
        smiles: molecules.
        settings: see `conform.embed`.
        workers: processes, one a core where None.
        seconds: longest time for one molecule.

    Raises:
        MissingDependencyError: RDKit is not installed.
    """
    try:
        import rdkit
    except ImportError as error:
        raise MissingDependencyError("conformers need RDKit; pip install rdkit") from error
    del rdkit
    from rich.console import Console
    from rich.progress import Progress

    count = max(1, min(workers or os.cpu_count() or 1, len(smiles)))
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(smiles)):
        waiting.put(i)
    answers: list[dict[str, Any]] = [{"reason": "never asked"}] * len(smiles)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("conformers", total=len(smiles))

        def work() -> None:
            worker = _Worker(settings, seconds)
            try:
                while True:
                    i = waiting.get_nowait()
                    answers[i] = worker.embed(smiles[i])
                    progress.advance(bar)
            except queue.Empty:
                pass
            finally:
                worker.close()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            # Where the user stops, threads end with the molecules they have.
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
    return answers
