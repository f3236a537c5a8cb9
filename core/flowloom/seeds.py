"""Randomness as a function of (seed, stream, step), so that a run can be resumed at any step.

No generator state is ever saved: step k of a resumed run draws exactly what step k of the first one drew.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

__all__ = ["derive", "generator", "hashed"]

_MASK = 0xFFFFFFFF


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed, independent across streams and steps, the same in every process.

    Args:
        seed: of the run.
        stream: what it is for; any name, a plugin's own as well.
        step: training step, epoch or any counter.
    """
    digest = blake2b(f"{seed}/{step}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` seeded by `derive`."""
    return torch.Generator(device).manual_seed(derive(seed, stream, step))


def hashed(x: Tensor, key: int) -> Tensor:
    """A 32-bit hash of every entry of ``x``, int64 as it is, under ``key`` (Wellons' lowbias32)."""
    x = (x ^ key) & _MASK
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)
