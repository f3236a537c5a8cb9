"""What a recipe's ``train`` section may say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flowloom.training.combiners import Combiner
from flowloom.training.decays import Decay
from flowloom.training.optimizers import Optimizer
from flowloom.training.parallel.config import ParallelConfig

_MOST = 2**24
"""Examples of a batch: beyond it, the list of its rows alone fills memory before anything is told."""


@dataclass(frozen=True)
class TurnConfig:
    """Settings of one turn of an objective that has several; what is left out is as for the whole training.

    Args:
        lr: peak learning rate.
        optimizer: which one.
        decay: shape of the learning rate.
        clip: largest gradient norm, 0 for no clipping.
    """

    lr: float | None = None
    optimizer: Optimizer | None = None
    decay: Decay | None = None
    clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} of a turn must be a number, and not negative; got {value}")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop.

    Args:
        steps: optimiser steps; 0 for a run that samples and judges what it is given.
        batch: examples a batch.
        accumulate: batches whose gradients are averaged before an optimiser step.
        lr: peak learning rate.
        optimizer: which optimiser; AdamW where None.
        decay: shape of the learning rate, warm-up included; constant where None.
        rates: factors of the learning rate by pattern of the parameter's name in the flow
            (``source.*: 0.1``); the last pattern that fits counts.
        turns: settings of single turns, by name, for objectives with several.
        combine: makes one gradient of several named losses; their sum where None.
        clip: largest gradient norm of a turn, 0 for no clipping.
        ema: decay of the averaged weights that samples come from, 0 for none. Early on the average is
            shorter: the decay at step k is ``min(ema, (1 + k) / (10 + k))``.
        precision: of the network's arithmetic; weights stay float32. With ``fp16`` losses are scaled, and
            a step whose gradient overflows is passed over.
        compile: run the model through ``torch.compile``; with ``loss`` the losses of all turns, which reaches
            networks inside ``torch.func.jvp`` too (MeanFlow and its relatives), where a compiled model runs
            as if it were not. Affine LayerNorm and GroupNorm do not compile there, nor do losses with
            derivatives inside that gradients go through (terminal-velocity-matching).
        recompute: keep what enters the blocks of the networks alone, and compute the rest again on the way
            back: less memory, about a third more time (activation checkpointing).
        channels_last: keep images with their channels innermost, which convolutions of some devices prefer.
        parallel: how several processes share the training.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints; the end always has one.
        keep_checkpoints: how many of the latest to keep.
        prefetch: draw and couple the next batch in a thread beside the step. ``auto`` does so where the
            coupling solves a problem or the data set reads files.
    """

    steps: int = 2000
    batch: int = 256
    accumulate: int = 1
    lr: float = 1e-3
    optimizer: Optimizer | None = None
    decay: Decay | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    turns: Mapping[str, TurnConfig] = field(default_factory=dict)
    combine: Combiner | None = None
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool | Literal["loss"] = False
    recompute: bool = False
    channels_last: bool = False
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    log_every: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    prefetch: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        for name in ("batch", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.batch > _MOST:
            raise ValueError(f"train.batch is at most {_MOST:,} examples, got {self.batch}; accumulate more")
        for name in ("steps", "lr", "clip"):
            if not 0 <= getattr(self, name) < math.inf:  # NaN is neither
                raise ValueError(
                    f"train.{name} must be a number, and not negative; got {getattr(self, name)}"
                )
        for pattern, factor in self.rates.items():
            if not 0 <= factor < math.inf:
                raise ValueError(
                    f"train.rates: the factor of '{pattern}' must be a number, and not negative; got {factor}"
                )
        if not 0 <= self.ema < 1:
            raise ValueError(f"train.ema must lie in [0, 1), got {self.ema}")
