"""What a recipe's ``train`` section may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop.

    Args:
        steps: optimiser steps.
        batch: examples a step.
        lr: peak learning rate.
        optimizer: which of torch's optimisers.
        betas: of Adam.
        weight_decay: decoupled (AdamW) or plain (Adam, SGD).
        warmup: steps of linear warm-up from 0.
        decay: shape of the learning rate after warm-up; ``cosine`` and ``linear`` end at 0.
        clip: largest gradient norm, 0 for no clipping.
        ema: decay of the averaged weights that samples come from, 0 for none. Early on the average is
            shorter: the decay at step k is ``min(ema, (1 + k) / (10 + k))``.
        precision: of the network's arithmetic; weights stay float32.
        compile: run the model through ``torch.compile``.
        log_every: steps between lines of metrics.
        checkpoint_every: steps between checkpoints; the end always has one.
        keep_checkpoints: how many of the latest to keep.
        prefetch: draw and couple the next batch in a thread beside the step. ``auto`` does so where the
            coupling solves a problem or the data set reads files.
    """

    steps: int = 2000
    batch: int = 256
    lr: float = 1e-3
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 0
    decay: Literal["constant", "cosine", "linear"] = "constant"
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    log_every: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    prefetch: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "weight_decay", "warmup", "clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"train.ema must lie in [0, 1), got {self.ema}")
