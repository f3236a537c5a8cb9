"""A rehearsal: everything that comes after training, on two examples, before the first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.evaluate import evaluate
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.samples import draw_for_report

_DRAWN, _ROWS = 2, 64


def rehearse(assembly: Assembly, sparing: str = "nothing was trained") -> None:
    """Sample, show, judge, ask and sweep with the weights that are there, and forget what came out.

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
        if assembly.judged:
            with torch.enable_grad():
                evaluate(small, notes, few=_DRAWN)
