"""What ``train.parallel`` may say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class ParallelConfig:
    """How several processes (``torchrun``) share a training; one alone trains as if nothing were said.

    With ``batch: whole`` every process draws, couples and scores the whole batch alike, and the calls of
    networks are split by rows: losses and gradients are those of one process, whatever the objective does
    with a batch. It costs the reading, the coupling and the arithmetic of the loss in every process. With
    ``batch: own`` a process draws, couples and scores its own ``train.batch / N`` rows and gradients are
    averaged: that is one process with ``train.accumulate`` times N and N-th of the batch. Nothing is
    done twice, and what an objective makes of a whole batch (a pairing, a mean over real entries) it makes of
    its own rows alone.

    Args:
        engine: ``ddp`` keeps everything in every process (DistributedDataParallel); ``fsdp`` keeps a share of
            the networks' weights, averages and moments in each (FSDP2's ``fully_shard``, block by block).
        batch: ``whole`` or ``own``.
        checkpoints: ``plain`` ones, which go on with as many processes as wrote them, or ``sharded`` ones,
            written by all at once, which go on with any number, one without ``torchrun`` included. By default
            as the engine keeps weights.
    """

    engine: Literal["ddp", "fsdp"] = "ddp"
    batch: Literal["whole", "own"] = "whole"
    checkpoints: Literal["plain", "sharded"] | None = None

    def __post_init__(self) -> None:
        if self.engine == "fsdp" and self.checkpoints == "plain":
            raise ValueError("engine fsdp holds a share of the weights in each process: checkpoints: sharded")

    @property
    def sharded(self) -> bool:
        """Whether checkpoints are written by all processes."""
        return self.engine == "fsdp" if self.checkpoints is None else self.checkpoints == "sharded"

    def alone(self) -> ParallelConfig:
        """What one process without a group goes on with: all weights in it, checkpoints in the same form."""
        return replace(self, engine="ddp", checkpoints="sharded" if self.sharded else "plain")
