"""Progress that a person can read: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from flowloom.solvers.walk import Hook
from flowloom.state import State

_PAUSE = 5.0
"""Seconds between two lines where there is no terminal."""
_quiet = ContextVar("quiet", default=False)
_showing = ContextVar("showing", default=False)


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Inside, no progress is shown and nothing is said."""
    before = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(before)


def is_quiet() -> bool:
    """Whether nothing is to be said."""
    return _quiet.get()


class Report(Protocol):
    """Called with the number of steps done and what to show beside it."""

    def __call__(self, step: int, shown: Mapping[str, float]) -> None:
        """Show progress."""


def _number(value: float) -> str:
    """Four digits; rates of many thousands are whole numbers, not powers of ten."""
    return f"{value:,.0f}" if 1e4 <= value < 1e9 else f"{value:.4g}"


class _Shown(ProgressColumn):
    def render(self, task: Task) -> Text:
        shown: Mapping[str, float] = task.fields.get("shown", {})
        return Text("  ".join(f"{k} {_number(v)}" for k, v in shown.items()), style="cyan")


@contextmanager
def progress(what: str, total: int, start: int = 0, patience: float = 0.0) -> Iterator[Report]:
    """Show the progress of ``total`` steps, ``start`` of them done already; work inside other work is silent.

    Args:
        what: a word for the work.
        total: steps in all.
        start: steps done before.
        patience: seconds in which nothing is said, for work that is mostly over by then.
    """
    if is_quiet() or _showing.get():
        yield lambda step, shown: None
        return
    before = _showing.set(True)
    try:
        with _shown(what, total, start, patience) as report:
            yield report
    finally:
        _showing.reset(before)


@contextmanager
def _shown(what: str, total: int, start: int, patience: float) -> Iterator[Report]:
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            _Shown(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=patience > 0) as bar:
            task = bar.add_task(what, total=total, completed=start, shown={})
            # Steps done before this process must not count as its speed.
            yield lambda step, shown: bar.update(task, completed=step, shown=shown)
        return
    began, last, said = time.monotonic(), -1, time.monotonic()

    def line(step: int, shown: Mapping[str, float]) -> None:
        nonlocal last, said
        tenth, now = 10 * step // max(total, 1), time.monotonic()
        # A log wants few lines: a tenth each, and not one upon the other; short work none but its last.
        soon = now - said < max(_PAUSE, patience)
        if (tenth == last or soon) and (step < total or now - began < patience):
            return
        last, said = tenth, now
        rate = (step - start) / max(time.monotonic() - began, 1e-9)
        left = (total - step) / rate if rate > 0 else 0.0
        values = "  ".join(f"{k} {_number(v)}" for k, v in shown.items())
        time_left = f"{left:.0f} s left" if step < total else f"{now - began:.0f} s"
        words = (f"{what} {step}/{total}", values, time_left)
        print("  ".join(word for word in words if word), file=sys.stderr, flush=True)

    yield line


@contextmanager
def walking(what: str, n: int, batch: int) -> Iterator[Hook]:
    """A hook for solvers that shows how far ``n`` examples, ``batch`` at a time, are on their way."""
    batches, done, before = -(-n // batch), 0, 0.0
    with progress(what, 100 * batches, patience=5.0) as report:

        def on_step(x: State, t: float) -> None:
            nonlocal done, before
            # Time starts anew with every batch.
            done += t < before
            before = t
            report(int(100 * (min(done, batches - 1) + t)), {})

        yield on_step
