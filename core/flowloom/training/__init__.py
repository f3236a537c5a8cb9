"""Training: configuration, feeds, the loop, and checkpoints."""

from flowloom.training.checkpoint import load_checkpoint, save_checkpoint
from flowloom.training.combiners import Combiner, ConFIG, Sum
from flowloom.training.config import TrainConfig, TurnConfig
from flowloom.training.decays import Constant, Cosine, Decay, Linear
from flowloom.training.ema import EMA
from flowloom.training.feeds import (
    Balanced,
    Bucketed,
    DataFeed,
    Feed,
    Feeding,
    OwnFeed,
    PriorOnly,
    Replay,
    Rows,
    SelfGenerated,
    Stream,
    coupled,
    paired,
)
from flowloom.training.loop import Trainer
from flowloom.training.optimizers import SGD, Adam, AdamW, Muon, Optimizer

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "Balanced",
    "Bucketed",
    "Combiner",
    "ConFIG",
    "Constant",
    "Cosine",
    "DataFeed",
    "Decay",
    "Feed",
    "Feeding",
    "Linear",
    "Muon",
    "Optimizer",
    "OwnFeed",
    "PriorOnly",
    "Replay",
    "Rows",
    "SelfGenerated",
    "Stream",
    "Sum",
    "TrainConfig",
    "Trainer",
    "TurnConfig",
    "coupled",
    "load_checkpoint",
    "paired",
    "save_checkpoint",
]
