"""Training: configuration, the loop, and checkpoints."""

from flowloom.training.checkpoint import load_checkpoint, save_checkpoint
from flowloom.training.config import TrainConfig
from flowloom.training.ema import EMA
from flowloom.training.loop import Trainer

__all__ = ["EMA", "TrainConfig", "Trainer", "load_checkpoint", "save_checkpoint"]
