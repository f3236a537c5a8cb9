"""Timing that survives a noisy machine: two functions in turn, in one process, compared by medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Medians of two interleaved functions.

    Args:
        name: what was measured.
        ours: median seconds of the first.
        theirs: median seconds of the second.
        ratio: median of the pairwise ratios ours / theirs.
        spread: 10 % and 90 % quantiles of the pairwise ratios.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    spread: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.spread
        return (
            f"{self.name:44} ours {1e3 * self.ours:9.3f} ms   other {1e3 * self.theirs:9.3f} ms   "
            f"ours/other {self.ratio:6.3f}  [{low:.3f}, {high:.3f}]"
        )


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def interleave(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 40,
    warmup: int = 3,
    clock: str = "wall",
) -> Ratio:
    """Call both in turn, the order swapped every round, and compare round by round.

    On a machine that others use too, ``clock="cpu"`` with one thread counts only the process's own time.
    """
    now = CLOCKS[clock]
    for _ in range(warmup):
        ours()
        theirs()
    a, b = [], []
    for i in range(rounds):
        pair = [(ours, a), (theirs, b)]
        for fn, times in pair if i % 2 == 0 else reversed(pair):
            began = now()
            fn()
            times.append(now() - began)
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    spread = (ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10])
    return Ratio(name, statistics.median(a), statistics.median(b), statistics.median(ratios), spread)
