"""Batches of walks to be taken: no data at all."""

from __future__ import annotations

from flowloom.training.feeds import PriorOnly
from flowloom_gflownets.environment import Environment


class Walks(PriorOnly):
    """The root, as often as a batch is large; its objective walks from there.

    Args:
        environment: says what states look like; injected from the recipe.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment.spec.shape, environment.spec.vocab)
