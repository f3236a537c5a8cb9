"""Timing that survives a noisy machine: functions in turn, in one process, compared by medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
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
    """Call both in turn, another first every round, and compare round by round.

    On a machine that others use too, ``clock="cpu"`` with one thread counts only the process's own time.
    """
    seconds = in_turn({"ours": ours, "theirs": theirs}, rounds, warmup, clock)
    a, b = seconds["ours"], seconds["theirs"]
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    spread = (ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10])
    return Ratio(name, statistics.median(a), statistics.median(b), statistics.median(ratios), spread)


def in_turn(
    functions: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3, clock: str = "wall"
) -> dict[str, list[float]]:
    """Seconds of every call; each round calls all functions once and begins with another one."""
    now, names = CLOCKS[clock], list(functions)
    for _ in range(warmup):
        for fn in functions.values():
            fn()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            began = now()
            functions[name]()
            seconds[name].append(now() - began)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Median milliseconds."""
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
