"""How frames follow each other, in samples and in data."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.metrics import Metric
from flowloom.metrics.distances import energy_distance
from flowloom.spec import Spec

__all__ = ["Increments"]


class Increments(Metric):
    """Energy distance of changes from frame to frame, each beside the classes of its row.

    ``late_spread`` tells whether rows that are made frame by frame drift away: the standard deviation of
    their last quarter over that of the data's, 1 where they do not.

    Args:
        spec: of the data, frames ``(frames, bands)``; injected from the recipe.
        most: changes of either side that are compared, evenly spread.

    Raises:
        IncompatibleError: the data are no frames.
    """

    better: ClassVar = {"increment_distance": "lower"}
    about: ClassVar = {
        "increment_distance": "Energy distance of changes from frame to frame, together with the class.",
        "late_spread": "Standard deviation of the last quarter of frames, over that of the data; 1 is right.",
    }

    def __init__(self, spec: Spec, most: int = 4000) -> None:
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2:
            raise IncompatibleError(
                f"metric increments compares frames (frames, bands), and the data have shape "
                f"{spec.event_shape()}"
            )
        if most < 2:
            raise ValueError(f"most must be at least 2, got {most}")
        self.spec, self.most = spec, most

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Both.

        Raises:
            ShapeError: there are no two changes to compare.
        """
        self.require_rows(samples, real)
        ours, theirs = self._changes(samples), self._changes(real)
        if min(len(ours), len(theirs)) < 2:
            raise ShapeError("metric increments compares changes from frame to frame, and there are none")
        spread = self._late(samples) / self._late(real).clamp_min(1e-12)
        return {"increment_distance": energy_distance(ours, theirs), "late_spread": float(spread)}

    def _changes(self, examples: Examples) -> Tensor:
        """Changes of real frames with classes beside them, ``(changes, bands + classes)``."""
        x, real = self._frames(examples)
        found = [x[:, 1:] - x[:, :-1]]
        for name, condition in self.spec.conditions.items():
            if condition.role == "inform" and condition.classes and not condition.shape:
                row = F.one_hot(examples.cond[name], condition.classes).to(x.dtype)
                found.append(row[:, None].expand(-1, x.shape[1] - 1, -1))
        changes = torch.cat(found, -1)[real[:, 1:]]
        return changes[torch.linspace(0, len(changes) - 1, min(self.most, len(changes))).long()]

    def _late(self, examples: Examples) -> Tensor:
        x, real = self._frames(examples)
        late = torch.arange(x.shape[1], device=x.device) >= 0.75 * real.sum(1, keepdim=True)
        return x[real & late].std()

    def _frames(self, examples: Examples) -> tuple[Tensor, Tensor]:
        assert isinstance(examples.x, Tensor)
        layout = examples.laid_out(self.spec).layout
        real = None if layout is None else layout.real
        if real is None:
            real = torch.ones(examples.x.shape[:2], dtype=torch.bool, device=examples.x.device)
        return examples.x, real
