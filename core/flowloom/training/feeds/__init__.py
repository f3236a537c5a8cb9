"""Feeds: where the batches of a training come from."""

from flowloom.training.feeds.balanced import Balanced
from flowloom.training.feeds.base import Feed, Feeding, coupled, paired
from flowloom.training.feeds.bucketed import Bucketed
from flowloom.training.feeds.own import OwnFeed
from flowloom.training.feeds.prior_only import PriorOnly
from flowloom.training.feeds.replay import Replay
from flowloom.training.feeds.rows import DataFeed, Rows
from flowloom.training.feeds.self_generated import SelfGenerated
from flowloom.training.feeds.stream import Stream

__all__ = [
    "Balanced",
    "Bucketed",
    "DataFeed",
    "Feed",
    "Feeding",
    "OwnFeed",
    "PriorOnly",
    "Replay",
    "Rows",
    "SelfGenerated",
    "Stream",
    "coupled",
    "paired",
]
