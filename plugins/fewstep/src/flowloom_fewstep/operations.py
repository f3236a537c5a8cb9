"""What a sample costs in arithmetic."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.state import take

__all__ = ["SamplingOperations"]


class SamplingOperations(Score):
    """Operations that one sample takes under the flow's own solver, small networks beside the large included.

    A multiplication and an addition count one each. Matrix products and convolutions are counted, and
    attention where torch's counter sees it; what works entry by entry is not.

    Args:
        n: samples that are drawn together and averaged over; their conditions are evenly spread over all.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {"operations": "lower"}

    def __init__(self, n: int = 16) -> None:
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        self.n = n

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``operations`` of one sample; of the examples, number and conditions are used."""
        if not len(examples):
            raise ShapeError("score sampling-operations: there is no example to score")
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        some = Examples(take(examples.x, rows), cond)
        start = flow.start_for(some, torch.Generator(flow.device).manual_seed(seed))
        with flow.evaluating(), FlopCounterMode(display=False) as counter:
            flow.solve(x0=start, cond=cond, seed=seed)
        return {"operations": counter.get_total_flops() / len(rows)}
