"""Where walks start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.sources import Source
from flowloom.state import Cond
from flowloom_gflownets.environment import Environment


class Root(Source):
    """Every walk starts at the root of its environment.

    Args:
        environment: injected from the recipe.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """The root, ``shape[0]`` times."""
        return self.environment.root(shape[0], draw.device or torch.device("cpu"), draw.dtype)
