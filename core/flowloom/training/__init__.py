"""Training: configuration, feeds, the loop, and checkpoints."""

from flowloom.training.checkpoint import load_checkpoint, save_checkpoint
from flowloom.training.combiners import Combiner, ConFIG, Sum
from flowloom.training.config import TrainConfig, TurnConfig
from flowloom.training.decays import Constant, Cosine, Decay, Linear
from flowloom.training.ema import EMA
from flowloom.training.feeds import Feed, Feeding, PriorOnly, Rows, coupled
from flowloom.training.loop import Trainer
from flowloom.training.optimizers import SGD, Adam, AdamW, Muon, Optimizer

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "Combiner",
    "ConFIG",
    "Constant",
    "Cosine",
    "Decay",
    "Feed",
    "Feeding",
    "Linear",
    "Muon",
    "Optimizer",
    "PriorOnly",
    "Rows",
    "Sum",
    "TrainConfig",
    "Trainer",
    "TurnConfig",
    "coupled",
    "load_checkpoint",
    "save_checkpoint",
]
