"""Laws of trackers: what following a run may and may not do."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from flowloom.testing.laws import Context, Make, law
from flowloom.trackers import Tracker

LINES: tuple[tuple[int, dict[str, float]], ...] = (
    (20, {"step": 20, "loss": 1.0, "lr": 0.1}),
    (40, {"step": 40, "loss": 0.9, "lr": 0.1, "val_nll": 3.0}),
    (60, {"step": 60, "loss": 0.8, "lr": 0.05}),
)
"""A run as it is logged: the metrics hold the step, and some lines have more of them than others."""
RESULTS = {"samples": {"energy_distance": 0.25}, "held_out": {"energy_distance": 0.01}}
RECIPE = "name: followed\nseed: 0\n"


@contextmanager
def _run_folder() -> Iterator[tuple[Path, Path]]:
    """An empty run folder, and the empty working folder in which the tracker finds itself."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as outer:
        run, work = Path(outer) / "run", Path(outer) / "work"
        run.mkdir()
        work.mkdir()
        os.chdir(work)
        try:
            yield run, work
        finally:
            os.chdir(before)


def _follow(tracker: Tracker, folder: Path, lines: tuple[tuple[int, dict[str, float]], ...] = LINES) -> None:
    tracker.start(folder, RECIPE)
    for step, metrics in lines:
        tracker.log(step, dict(metrics))
    tracker.finish(RESULTS)


@law("a run is followed from its start to its end")
def check_follows_a_run(make: Make, context: Context) -> None:
    """Also where metrics join late, are not finite, or where nothing was evaluated."""
    with _run_folder() as (folder, _):
        _follow(make(), folder)
    odd = ((1, {"loss": math.nan}), (2, {"loss": math.inf, "late": -1.0}))
    with _run_folder() as (folder, _):
        tracker = make()
        tracker.start(folder, RECIPE)
        for step, metrics in odd:
            tracker.log(step, dict(metrics))
        tracker.finish({})


@law("a run that was killed is followed on")
def check_follows_on(make: Make, context: Context) -> None:
    """Another object takes over in the same folder, some steps back; nothing that was written disappears."""
    with _run_folder() as (folder, _):
        first = make()
        first.start(folder, RECIPE)
        for step, metrics in LINES:
            first.log(step, dict(metrics))
        files = {file for file in folder.rglob("*") if file.is_file()}
        _follow(make(), folder, LINES[1:])
        lost = [file.name for file in files if not file.is_file() or file.stat().st_size == 0]
        context.holds("files of the first part are still there", not lost, f"{lost}")


@law("it writes into the run's folder and nowhere else")
def check_keeps_to_its_folder(make: Make, context: Context) -> None:
    """Nothing appears in the working folder, which is another one."""
    with _run_folder() as (folder, work):
        _follow(make(), folder)
        strays = sorted(file.name for file in work.rglob("*"))
        context.holds("nothing is written beside the run", not strays, f"{strays}")


@law("a run that is followed is the run that is not")
def check_leaves_the_run_alone(make: Make, context: Context) -> None:
    """Metrics come back as they were, and the global generator is not drawn from."""
    with _run_folder() as (folder, _):
        tracker = make()
        before = torch.random.get_rng_state()
        tracker.start(folder, RECIPE)
        for step, metrics in LINES:
            handed = dict(metrics)
            tracker.log(step, handed)
            context.holds("metrics are left as they were", handed == metrics, f"step {step}")
        tracker.finish(RESULTS)
        untouched = torch.equal(before, torch.random.get_rng_state())
        context.holds("the global generator is left as it was", untouched)
