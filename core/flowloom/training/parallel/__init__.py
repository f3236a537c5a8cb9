"""One training over several processes, on torch.distributed: what each of them does, and how it stays one."""

from flowloom.training.parallel.apart import apart
from flowloom.training.parallel.config import ParallelConfig
from flowloom.training.parallel.engine import Engine, engine_for, require_parallel
from flowloom.training.parallel.last_words import leave_word
from flowloom.training.parallel.rows import SplitRows
from flowloom.training.parallel.world import World, averaged, in_shares, noticing_loss, whole

__all__ = [
    "Engine",
    "ParallelConfig",
    "SplitRows",
    "World",
    "apart",
    "averaged",
    "engine_for",
    "in_shares",
    "leave_word",
    "noticing_loss",
    "require_parallel",
    "whole",
]
