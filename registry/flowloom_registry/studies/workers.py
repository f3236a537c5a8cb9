"""Carrying cells out: in this process one after another, or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from flowloom_registry.runs.apart import terminated_as_interrupted
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.folder import FAILED, RUNNING, State, StudyFolder
from flowloom_registry.studies.work import work

Source = Callable[[], Sequence[Cell]]
"""Makes the cells anew in another process; a plain function, or a partial of one."""
Told = Callable[[Cell, State], None]


def carry_out_cells(
    cells: Sequence[Cell], study: StudyFolder, device: torch.device, *, source: Source, jobs: int, told: Told
) -> None:
    """Carry every cell out; those that share weights after the one that trains them.

    Args:
        cells: what is to be done, in order.
        study: where.
        device: on what.
        source: makes the cells, for processes of their own.
        jobs: cells at a time; 1 works in this process.
        told: called with every cell that came to an end.

    Raises:
        KeyboardInterrupt: stopped; cells in training have written a checkpoint.
    """
    if jobs == 1:
        for cell in sorted(cells, key=lambda cell: bool(cell.trains)):
            with _told_to(study.log_file(cell.name)):
                state = work(cell, study, device)
            told(cell, state)
        return
    _Pool(list(cells), study, device, source, jobs, told).run()


@contextmanager
def _told_to(file: Path) -> Iterator[None]:
    """Inside, what is printed goes to the end of a file."""
    with open(file, "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        yield


class _Pool:
    """Processes for single cells: one that dies takes no other with it."""

    def __init__(
        self,
        cells: list[Cell],
        study: StudyFolder,
        device: torch.device,
        source: Source,
        jobs: int,
        told: Told,
    ) -> None:
        self.waiting, self.study, self.device, self.source = cells, study, device, source
        self.jobs, self.told = jobs, told
        self.running: dict[BaseProcess, Cell] = {}
        self.threads = max(1, (os.cpu_count() or 1) // jobs)

    def run(self) -> None:
        try:
            with terminated_as_interrupted():
                while self.waiting or self.running:
                    self._start()
                    wait([process.sentinel for process in self.running])
                    self._collect()
        finally:
            for process in self.running:
                process.terminate()  # which lets it write a checkpoint
            for process in self.running:
                process.join()

    def _start(self) -> None:
        for cell in list(self.waiting):
            if len(self.running) == self.jobs:
                return
            busy = {one.trains or one.name for one in self.running.values()}
            # Two cells of one run folder come one after the other, the one that trains it first.
            first = {one.name for one in self.waiting}
            if (cell.trains or cell.name) in busy or cell.trains in first:
                continue
            self.waiting.remove(cell)
            before = self.study.state(cell.name)
            self.study.set_state(cell.name, State(RUNNING, "", before.seconds, before.asked))
            arguments = (self.source, cell.name, self.study.path, str(self.device), self.threads)
            process = multiprocessing.get_context("spawn").Process(target=_work_apart, args=arguments)
            process.start()
            self.running[process] = cell

    def _collect(self) -> None:
        for process, cell in list(self.running.items()):
            if process.is_alive():
                continue
            process.join()
            del self.running[process]
            state = self.study.state(cell.name)
            if state.state == RUNNING:
                state = State(FAILED, f"its process ended with code {process.exitcode}", state.seconds)
                self.study.set_state(cell.name, state)
            self.told(cell, state)


def _work_apart(source: Source, name: str, study: Path, device: str, threads: int) -> None:
    """One cell in a process of its own, which says what it says in a log."""
    folder = StudyFolder(study)
    with open(folder.log_file(name), "a", encoding="utf-8") as log:
        sys.stdout = sys.stderr = log
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        try:
            cell = next(cell for cell in source() if cell.name == name)
            work(cell, folder, torch.device(device))
        except KeyboardInterrupt:
            sys.exit(130)
        except BaseException:
            traceback.print_exc(file=log)
            raise


class Progress:
    """One line a cell on stderr, with the time that is left.

    Args:
        total: cells in all.
        done: of them, done before.
        jobs: cells at a time.
    """

    def __init__(self, total: int, done: int, jobs: int) -> None:
        self.total, self.done, self.jobs = total, done, jobs
        self.before, self.began = done, time.monotonic()

    def __call__(self, cell: Cell, state: State) -> None:
        """Say how a cell ended."""
        self.done += 1
        each = (time.monotonic() - self.began) / (self.done - self.before)
        left = each * (self.total - self.done)
        why = f": {state.why}" if state.why and state.state != "finished" else ""
        line = f"[{self.done}/{self.total}] {cell.title}: {state.state}{why}"
        more = f"  (about {duration(left)} left)" if self.done < self.total else ""
        print(line + more, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in the words of people: ``45 s``, ``12 min``, ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
