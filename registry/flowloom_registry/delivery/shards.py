"""Samples of any number in files of many: batch by batch, by several processes, going on where they stopped.

Batch b is a function of the run, the solver, the conditions and (seed, b) alone, and a shard holds whole
batches. So a shard has the same bytes whoever writes it, after whatever kill. ``index.json`` says what was
asked for, which shards there are, and the hash of each; a shard tells its own hash as well (`_sealed`), for
the moment between its writing and the next of the index.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.records import records
from flowloom.errors import FlowloomError, RunError
from flowloom.seeds import derive
from flowloom.solvers import Solver
from flowloom.state import concat
from flowloom_registry.runs.apart import terminated_as_interrupted
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.folder import RunFolder, hash_file, read_json, write_bytes, write_text
from flowloom_registry.runs.progress import Report, progress
from flowloom_registry.runs.used import fingerprint

__all__ = ["INDEX", "Drawer", "Given", "write_shards"]

INDEX = "index.json"
FORMAT = 1
_BYTES = 64 * 2**20
"""Of a shard, where nobody says how many rows it has."""
_PAUSE = 2.0
"""Seconds between two writes of the index, which may be long."""


class Given(Protocol):
    """Conditions that were given for the examples."""

    @property
    def values(self) -> Mapping[str, Tensor]:
        """By name, one row for all or a row each."""

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Those of some of the examples."""


@dataclass(frozen=True)
class Drawer:
    """Draws batches of a run.

    Args:
        assembly: of the run, on its device.
        folder: of the run.
        n: examples in all.
        seed: of all draws.
        solver: by which.
        given: conditions; what is not given comes from held-out rows.
        told: how solver and conditions were asked for, for the index.
    """

    assembly: Assembly
    folder: RunFolder
    n: int
    seed: int
    solver: Solver
    given: Given
    told: Mapping[str, Any]

    def conditions(self, batch: int, size: int) -> dict[str, Tensor]:
        """Those of batch number ``batch``, of ``size`` rows but the last."""
        rows = torch.arange(batch * size, min(self.n, (batch + 1) * size))
        seed = derive(self.seed, "shards/lengths", batch)
        return self.assembly.conditions_left(self.given.take(rows), self.n, rows, seed)

    def draw(self, batch: int, size: int) -> Examples:
        """Batch number ``batch``."""
        cond = self.conditions(batch, size)
        solution = self.assembly.flow.solve(
            min(self.n, (batch + 1) * size) - batch * size,
            solver=self.solver,
            seed=derive(self.seed, "shards", batch),
            cond=cond,
        )
        return self.assembly.drawn(solution, cond)

    def identity(self) -> dict[str, Any]:
        """All that decides what is drawn, apart from the sizes of batches."""
        given = {
            name: hashlib.sha256(value.numpy().tobytes()).hexdigest()
            for name, value in sorted(self.given.values.items())
        }
        device = self.assembly.flow.device.type
        run = fingerprint(self.folder)
        run = {key: run[key] for key in ("weights", "recipe", "used") if key in run}
        return {
            **{"n": self.n, "seed": self.seed, "device": device, "torch": torch.__version__},
            **{"run": {"name": self.assembly.name, **run}, "asked": dict(self.told), "given": given},
        }


Make = Callable[[str], Drawer]
"""Opens a run on a device; a plain function or a partial of one, as other processes get it."""


@dataclass(frozen=True)
class _Plan:
    """Which rows lie where."""

    n: int
    batch: int
    batches: int  # of a shard

    @cached_property
    def shards(self) -> int:
        return -(-self.n // (self.batch * self.batches))

    def file(self, shard: int) -> str:
        return f"shard-{shard:06d}.safetensors"

    def first(self, shard: int) -> int:
        return shard * self.batch * self.batches

    def rows(self, shard: int) -> int:
        return min(self.n, self.first(shard + 1)) - self.first(shard)

    def numbers(self, shard: int) -> range:
        """Of the batches in it."""
        return range(shard * self.batches, shard * self.batches + -(-self.rows(shard) // self.batch))


def write_shards(
    make: Make,
    out: Path,
    *,
    device: str,
    batch: int | None = None,
    shard_rows: int | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Draw what is not there yet, and return the finished index.

    On the CPU every process works with one thread, because sums of other numbers of threads are rounded
    otherwise; processes of ``cuda`` are spread over the devices.

    Args:
        make: opens the run.
        out: the folder of the shards.
        device: on what.
        batch: rows of one solve; the recipe's ``evaluate.batch`` where None.
        shard_rows: rows a file, rounded up to whole batches; some 64 MiB where None.
        jobs: processes.

    Raises:
        FlowloomError: a number below 1.
        RunError: the folder holds other samples, cannot be written, or a process died.
        KeyboardInterrupt: stopped; what is written stays.
    """
    for name, value in (("--batch", batch), ("--shard-rows", shard_rows), ("--jobs", jobs)):
        if value is not None and value < 1:
            raise FlowloomError(f"{name} must be at least 1, got {value}")
    with _one_thread():
        drawer = make(device)
        if drawer.n < 1:
            raise FlowloomError(f"n must be at least 1, got {drawer.n}")
        size = batch or drawer.assembly.evaluate.batch
        # What cannot be drawn is told before anything is written.
        one = records((example := drawer.draw(0, 1)).x, "x", example.cond)
        row_bytes = sum(value.numel() * value.element_size() for value in one.values())
        rows = shard_rows or max(1, _BYTES // max(row_bytes, 1))
        plan = _Plan(drawer.n, size, -(-min(rows, drawer.n) // size))
        asked = {
            **{"format": FORMAT, **drawer.identity(), "batch": size, "shard_rows": size * plan.batches},
            "tensors": {
                name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape[1:])}
                for name, value in one.items()
            },
        }
        with RunFolder(out).locked():
            index = _Index(out, asked, plan)
            waiting = [k for k in range(plan.shards) if k not in index.done]
            with progress("sampling", drawer.n, index.rows()) as report, terminated_as_interrupted():
                try:
                    if jobs == 1 or len(waiting) < 2:
                        for k in waiting:
                            index.add(k, _draw_shard(drawer, plan, k, out))
                            report(index.rows(), {})
                    else:
                        _in_processes(make, device, jobs, waiting, index, report)
                finally:
                    index.write()
        return index.value()


class _Index:
    """``index.json``: what was asked for, and the shards that are whole."""

    def __init__(self, folder: Path, asked: Mapping[str, Any], plan: _Plan) -> None:
        self.file, self.asked, self.plan = folder / INDEX, json.loads(json.dumps(asked)), plan
        self.done: dict[int, str] = {}
        self._written = 0.0
        before = self._read()
        for k in range(plan.shards):
            path = folder / plan.file(k)
            if not path.is_file():
                continue
            told = before.get(path.name)
            found = hash_file(path)
            # One that was renamed into place and not yet listed is whole as well, if it has kept its seal.
            if found == told or (told is None and _whole(path, plan.rows(k))):
                self.done[k] = found
        self.write()

    def _read(self) -> dict[str, str]:
        if not self.file.is_file():
            strangers = [p.name for p in self.file.parent.iterdir() if not p.name.startswith(".")]
            if strangers:
                raise RunError(
                    f"{self.file.parent} holds {sorted(strangers)[0]!r} and no {INDEX}; choose another --out"
                )
            return {}
        kept = read_json(self.file)
        shards = kept.pop("shards", None)
        kept.pop("finished", None)
        if kept != self.asked:
            key, was, now = _difference(kept, self.asked)
            raise RunError(
                f"{self.file.parent} holds samples that were asked for otherwise ({key}: {was} -> {now}); "
                "choose another --out, or delete it"
            )
        if not isinstance(shards, list):
            raise RunError(
                f"{self.file} is damaged: it lists no shards; choose another --out, or delete the folder"
            )
        return {str(one.get("file")): str(one.get("sha256")) for one in shards if isinstance(one, dict)}

    def rows(self) -> int:
        """Examples in the shards that are whole."""
        return sum(map(self.plan.rows, self.done))

    def add(self, shard: int, digest: str) -> None:
        """One more is whole."""
        self.done[shard] = digest
        if time.monotonic() - self._written > _PAUSE:
            self.write()

    def value(self) -> dict[str, Any]:
        """What the file says."""
        plan = self.plan
        shards = [
            {"file": plan.file(k), "first": plan.first(k), "rows": plan.rows(k), "sha256": self.done[k]}
            for k in sorted(self.done)
        ]
        return {**self.asked, "finished": len(shards) == plan.shards, "shards": shards}

    def write(self) -> None:
        """Write it anew."""
        write_text(self.file, json.dumps(self.value(), indent=1) + "\n")
        self._written = time.monotonic()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> tuple[str, Any, Any]:
    """The first value that differs, by its dotted name."""
    for key in {**before, **now}:
        a, b = before.get(key), now.get(key)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                return _difference(a, b, f"{place}{key}.")
            return f"{place}{key}", a, b
    return place, None, None


def _sealed(tensors: Mapping[str, Tensor]) -> bytes:
    """A shard with, in its header, the hash of what it would be without one."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    return save(whole, {"sha256": hashlib.sha256(save(whole)).hexdigest()})


def _whole(file: Path, rows: int) -> bool:
    """Whether a shard has so many rows, and every byte that it was written with."""
    try:
        data = file.read_bytes()
        tensors = load(data)
    except (OSError, SafetensorError, ValueError, KeyError):
        return False
    return {tuple(value.shape[:1]) for value in tensors.values()} == {(rows,)} and _sealed(tensors) == data


def _draw_shard(drawer: Drawer, plan: _Plan, shard: int, out: Path) -> str:
    """Draw and write one; returns its hash."""
    drawn = [drawer.draw(b, plan.batch) for b in plan.numbers(shard)]
    cond = {name: torch.cat([one.cond[name] for one in drawn]) for name in drawn[0].cond}
    tensors = records(concat([one.x for one in drawn]), "x", cond)
    data = _sealed(tensors)
    write_bytes(out / plan.file(shard), data)
    return hashlib.sha256(data).hexdigest()


def _in_processes(
    make: Make, device: str, jobs: int, waiting: Sequence[int], index: _Index, report: Report
) -> None:
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, BaseProcess] = {}
    try:
        for i in range(min(jobs, len(waiting))):
            ours, theirs = context.Pipe(duplex=False)
            place = _spread(device, i)
            arguments = (make, place, index.plan, index.file.parent, list(waiting[i::jobs]), theirs)
            process: BaseProcess = context.Process(target=_work_apart, args=arguments, daemon=True)
            process.start()
            theirs.close()
            running[ours] = process
        while running:
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                try:
                    said = pipe.recv()
                except EOFError:
                    process = running.pop(pipe)
                    process.join()
                    if process.exitcode:
                        raise RunError(
                            f"a process that drew samples ended with code {process.exitcode}; the same "
                            "command goes on with what is left"
                        ) from None
                    continue
                if isinstance(said, str):
                    raise RunError(said)
                index.add(*said)
                report(index.rows(), {})
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _spread(device: str, i: int) -> str:
    count = torch.cuda.device_count() if device == "cuda" else 0
    return f"cuda:{i % count}" if count > 1 else device


def _work_apart(
    make: Make, device: str, plan: _Plan, out: Path, shards: Sequence[int], pipe: Connection
) -> None:
    """Shards in a process of their own; each is told to the one that began it."""
    with _one_thread():
        try:
            drawer = make(device)
            for k in shards:
                pipe.send((k, _draw_shard(drawer, plan, k, out)))
        except FlowloomError as error:
            pipe.send(str(error))
        except (KeyboardInterrupt, BrokenPipeError):  # told to stop, or nobody is left to tell
            os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
