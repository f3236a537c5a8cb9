"""A finite set of tokens: a geometry with points but no directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry.base import Geometry
from flowloom.spec import Spec
from flowloom.state import Shape


class Discrete(Geometry):
    """Token ids ``0 .. vocab - 1``; events of any shape, every entry one token.

    Paths between tokens are jumps (see `flowloom.paths.MixturePath`), so tangent operations raise.

    Args:
        vocab: number of tokens; the spec's where left out.
        mask: whether one more id, ``vocab``, stands for the mask token and counts as a point.
        spec: of the data; injected from the recipe.
    """

    point_ndim = 0
    continuous = False
    dim = 0
    defaults: ClassVar[Mapping[str, str]] = {
        "source": "mask",
        "path": "mixture",
        "objective": "posterior",
        "solver": "ctmc-euler",
        "step": "ctmc-euler",
    }

    def __init__(self, vocab: int | None = None, mask: bool = False, spec: Spec | None = None) -> None:
        vocab = spec.vocab if vocab is None and spec is not None else vocab
        if vocab is None:
            raise IncompatibleError("the data is not made of tokens, so a discrete geometry needs vocab")
        if vocab < 1:
            raise ValueError(f"vocab must be at least 1, got {vocab}")
        self.vocab: int = vocab
        self.mask = mask

    def _none(self) -> NoReturn:
        raise IncompatibleError(
            "a discrete geometry has no tangent vectors; use a path and a solver for discrete states "
            "(path: mixture, solver: ctmc-euler)"
        )

    def project(self, x: Tensor) -> Tensor:
        """Token ids are points already."""
        return x

    def to_tangent(self, x: Any, v: Any) -> NoReturn:
        """Raises IncompatibleError."""
        self._none()

    def exp(self, x: Any, v: Any) -> NoReturn:
        """Raises IncompatibleError."""
        self._none()

    def log(self, x: Any, y: Any) -> NoReturn:
        """Raises IncompatibleError."""
        self._none()

    def inner_point(self, x: Any, u: Any, v: Any) -> NoReturn:
        """Raises IncompatibleError."""
        self._none()

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """1 where tokens differ; ``distance`` is then the root of the Hamming distance."""
        return (x != y).to(torch.get_default_dtype())

    def log_volume(self) -> float:
        """Log of the number of tokens (counting measure)."""
        return math.log(self.vocab)

    def violation(self, x: Tensor) -> Tensor:
        """How far the worst id is outside the vocabulary."""
        x, top = x.long(), self.vocab - (0 if self.mask else 1)  # unsigned ids have no negatives
        outside = torch.maximum(-x, x - top).clamp_min(0).to(torch.get_default_dtype())
        return outside.flatten(1).amax(1) if x.ndim > 1 else outside

    def random(self, shape: Shape, draw: Draw = GLOBAL) -> Tensor:
        """Uniform tokens (never the mask), int64."""
        return draw.integers(self.vocab, shape)

    def misfit(self, spec: Spec) -> str:
        """Another vocabulary, besides what no space takes."""
        if spec.discrete and spec.vocab not in (None, self.vocab):
            return f"{self} has another vocabulary than the data ({spec.vocab}); leave it out"
        return super().misfit(spec)

    def __repr__(self) -> str:
        return f"Discrete(vocab={self.vocab})"
