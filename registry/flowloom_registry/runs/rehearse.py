"""A rehearsal: everything that comes after training, on two examples, before the first step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from flowloom.trackers import Tracker
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.evaluate import evaluate
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.samples import draw_for_report

_DRAWN, _ROWS = 2, 64


def rehearse(assembly: Assembly, sparing: str = "nothing was trained") -> None:
    """Sample, show, judge, ask, sweep and track with the weights that are there, and forget what came out.

    Two samples are drawn and repeated to as many rows as metrics are shown (64 at most); metrics are fitted
    as they will be, which is not done again. The weights, the global generator and the run folder stay as
    they are.

    Args:
        assembly: its fitted parts fitted, its flow where it will be trained.
        sparing: what a failure spares, for its message.

    Raises:
        RunError: something would have failed after training; says what, and why.
    """
    config, notes = assembly.evaluate, Notes(sparing)
    small = replace(
        assembly,
        evaluate=replace(
            config,
            n=min(config.n, _ROWS),
            reference=min(config.reference, _ROWS),
            sweep_n=_DRAWN,
            questions=min(config.questions, _ROWS),
        ),
        sample=replace(assembly.sample, n=min(assembly.sample.n, _DRAWN), rows=1),
    )
    with torch.random.fork_rng(devices=[]), assembly.flow.evaluating(), torch.no_grad():
        with TemporaryDirectory() as folder:
            draw_for_report(small, Path(folder), notes)
        results: dict[str, dict[str, float]] = {}
        if assembly.judged:
            with torch.enable_grad():
                results = evaluate(small, notes, few=_DRAWN).by_column()
        for tracker in assembly.trackers:
            with notes.about(f"tracker {type(tracker).__name__}"):
                _follow(tracker, results)


def _follow(tracker: Tracker, results: Mapping[str, Any]) -> None:
    """Let a copy of a tracker follow a run of two lines; a disk or a server may be back by then."""
    if tracker.remote:
        return
    try:
        other = copy.deepcopy(tracker)
    except Exception:  # it holds what cannot be copied, a lock say, and that is no fault
        return
    with TemporaryDirectory() as folder, suppress(OSError):
        other.start(Path(folder), "name: rehearsal\n")
        line = {"loss": 1.0, "grad_norm": 1.0, "lr": 1e-3, "examples_per_second": 1.0}
        # Looks at held-out data join some lines only.
        for step, metrics in enumerate((line, {**line, "val_nll": 1.0}), 1):
            other.log(step, {"step": step, **metrics})
        other.finish(results)
