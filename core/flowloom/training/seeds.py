"""Randomness as a function of (seed, stream, step), so that a run can be resumed at any step.

No generator state is ever saved: step k of a resumed run draws exactly what step k of the first one drew.
"""

from __future__ import annotations

import numpy as np
import torch

_STREAMS = ("order", "source", "objective", "model", "sample", "init", "evaluate")


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed, independent across streams and steps.

    Args:
        seed: of the run.
        stream: what it is for, one of the fixed names.
        step: training step, epoch or any counter.
    """
    entropy = np.random.SeedSequence([abs(seed), _STREAMS.index(stream), step, int(seed < 0)])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` seeded by `derive`."""
    return torch.Generator(device).manual_seed(derive(seed, stream, step))
