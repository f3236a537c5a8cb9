"""Launchers: where the cells of an experiment are carried out."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from flowloom.errors import FlowloomError
from flowloom_registry.runs.apart import (
    end_with_parent,
    terminated_as_interrupted,
    without_interrupts,
    without_main,
)
from flowloom_registry.studies.cells import Cell
from flowloom_registry.studies.folder import FAILED, RUNNING, WAITING, State, StudyFolder
from flowloom_registry.studies.work import ELSEWHERE, work

__all__ = ["Launcher", "Launching", "Processes", "Source", "Told", "carry_out_named", "ready"]

Source = Callable[[], Sequence[Cell]]
"""Makes the cells anew in another process; a plain function, or a partial of one."""
Told = Callable[[Cell, State], None]


@dataclass(frozen=True)
class Launching:
    """What is to be carried out.

    Args:
        cells: that are not done, in order.
        study: where; on a disk that everybody who works on it shares.
        device: on what; the best one there where None.
        source: makes the cells, elsewhere.
        told: to be called with every cell that came to an end.
        command: words after ``flowloom`` that carry out one cell, whose name follows; empty where there are
            none.
    """

    cells: Sequence[Cell]
    study: StudyFolder
    device: str | None
    source: Source
    told: Told
    command: Sequence[str] = ()

    def ended(self, cell: Cell, why: str) -> None:
        """Tell a cell's end; one that left no word of it failed, unless another command is at work on it."""
        state = self.study.state(cell.name)
        if state.state == RUNNING and self.study.run_of(cell).in_use():
            state = replace(state, why=ELSEWHERE)
        elif state.state in (RUNNING, WAITING):
            state = State(FAILED, why, state.seconds)
            self.study.set_state(cell.name, state)
        self.told(cell, state)


class Launcher(ABC):
    """Carries the cells of an experiment out, in processes of this machine or on others.

    What a cell is to do, and that its end is written down, is `carry_out_named`'s; a launcher decides where
    and when. Cells that share weights come after the one that trains them, and never two at once (`ready`).
    """

    @abstractmethod
    def carry_out(self, launching: Launching) -> None:
        """Carry every cell out, and tell each that came to an end.

        Raises:
            KeyboardInterrupt: stopped; cells in training have written a checkpoint.
            FlowloomError: it cannot work here; says what is missing.
        """


def ready(waiting: Iterable[Cell], running: Iterable[Cell]) -> Cell | None:
    """The first cell that may begin: of one run folder one at a time, and the one that trains first."""
    waiting = list(waiting)
    busy = {one.trains or one.name for one in running}
    first = {one.name for one in waiting}
    return next((c for c in waiting if (c.trains or c.name) not in busy and c.trains not in first), None)


class Processes(Launcher):
    """Processes of this machine: one after another in this one, or several, each with a cell.

    One that dies takes no other with it.

    Args:
        jobs: cells at a time; 1 works in this process.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise FlowloomError(f"jobs must be at least 1, got {jobs}")
        self.jobs = jobs

    def carry_out(self, launching: Launching) -> None:
        """Carry every cell out."""
        from flowloom_registry.runs.open import pick_device

        device = pick_device(launching.device)
        if self.jobs == 1:
            for cell in _trainers_first(launching.cells):
                with _told_to(launching.study.log_file(cell.name)):
                    state = work(cell, launching.study, device)
                launching.told(cell, state)
            return
        _Pool(launching, device, self.jobs).run()


def _trainers_first(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in their order, but those whose weights others are asked with before these."""
    known = {cell.name: cell for cell in cells}
    order: dict[str, Cell] = {}
    for cell in cells:
        if cell.trains in known:
            order.setdefault(cell.trains, known[cell.trains])
        order.setdefault(cell.name, cell)
    return list(order.values())


@contextmanager
def _told_to(file: Path) -> Iterator[None]:
    """Inside, what is printed goes to the end of a file."""
    with open(file, "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        yield


class _Pool:
    """Processes for single cells."""

    def __init__(self, launching: Launching, device: torch.device, jobs: int) -> None:
        self.launching, self.device, self.jobs = launching, device, jobs
        self.waiting = list(launching.cells)
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
            self._end()  # which lets them write checkpoints
            try:
                for process in self.running:
                    process.join()
            except KeyboardInterrupt:  # asked a second time, they end at once
                self._end()
                raise

    def _end(self) -> None:
        for process in self.running:
            process.terminate()

    def _start(self) -> None:
        study = self.launching.study
        while len(self.running) < self.jobs:
            cell = ready(self.waiting, self.running.values())
            if cell is None:
                return
            self.waiting.remove(cell)
            before = study.state(cell.name)
            study.set_state(cell.name, State(RUNNING, "", before.seconds, before.asked))
            arguments = (self.launching.source, cell.name, study.path, str(self.device), self.threads)
            context = multiprocessing.get_context("spawn")
            process: BaseProcess = context.Process(target=_apart, args=arguments)
            with without_interrupts(), without_main():
                process.start()
            self.running[process] = cell

    def _collect(self) -> None:
        for process, cell in list(self.running.items()):
            if process.is_alive():
                continue
            process.join()
            del self.running[process]
            self.launching.ended(cell, f"its process ended with code {process.exitcode}")


def _apart(source: Source, name: str, study: Path, device: str, threads: int) -> None:
    """A cell in a process of its own, which Ctrl-C does not reach: it ends as the one that began it says."""
    end_with_parent()
    carry_out_named(source, name, study, device, threads)


def carry_out_named(
    source: Source, name: str, study: Path, device: str | None, threads: int | None = None
) -> None:
    """One cell in a process of its own, which says what it says in the cell's log.

    Args:
        source: makes the cells.
        name: of the cell.
        study: the folder.
        device: on what; the best one there where None.
        threads: of torch, where the environment does not say.
    """
    from flowloom_registry.runs.open import pick_device

    folder = StudyFolder(study)
    with _told_to(folder.log_file(name)):
        if threads is not None and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        try:
            cell = next(cell for cell in source() if cell.name == name)
            work(cell, folder, pick_device(device))
        except KeyboardInterrupt:
            sys.exit(130)
        except BaseException:
            traceback.print_exc()
            raise
