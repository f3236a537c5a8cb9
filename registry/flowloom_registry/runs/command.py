"""Commands as a shell takes them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

__all__ = ["command"]


def command(words: Sequence[str], processes: int = 1) -> str:
    """A command of flowloom's, in one process or in several that train together.

    Args:
        words: after the program's name.
        processes: how many.
    """
    several = ["torchrun", "--nproc-per-node", str(processes), "-m", "flowloom_registry"]
    return shlex.join([*(["flowloom"] if processes == 1 else several), *words])
