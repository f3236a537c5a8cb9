"""What trajectories run into on their way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score


class EntersBox(Score):
    """Share of trajectories of which a point lies in a box: in a wall that they should walk round, say.

    Args:
        low: the least corner of the box.
        high: the largest.
        n: trajectories, drawn by the flow's own solver.
        points: of every trajectory, evenly spread in time.
        between: pieces into which the straight way from one point to the next is cut.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"enters": "lower"}
    about: ClassVar[Mapping[str, str]] = {"enters": "Share of trajectories that pass through the box."}

    def __init__(
        self, low: Sequence[float], high: Sequence[float], n: int = 200, points: int = 101, between: int = 4
    ) -> None:
        if n < 1 or points < 2 or between < 1:
            raise ValueError(f"n, points and between count from 1, 2 and 1; got {n}, {points}, {between}")
        if len(low) != len(high):
            raise ValueError(f"both corners of a box have as many numbers; got {low} and {high}")
        self.low, self.high = torch.tensor(low).float(), torch.tensor(high).float()
        self.n, self.points, self.between = n, points, between

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``enters``, of as many trajectories as there are examples, ``n`` at most."""
        if not len(examples):
            raise ShapeError("score enters-box: there is no example to score")
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        with flow.evaluating():
            states = flow.solve(len(rows), seed=seed, keep=self.points, cond=cond).trajectory
        hit = torch.zeros(len(rows), dtype=torch.bool)
        for a, b in itertools.pairwise(states):
            if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape[1:] != self.low.shape:
                raise IncompatibleError(f"enters-box: a state has no {len(self.low)} coordinates")
            for k in range(self.between + 1):
                p = torch.lerp(a, b, k / self.between).cpu()
                hit |= ((p > self.low) & (p < self.high)).all(1)
        return {"enters": float(hit.double().mean())}
