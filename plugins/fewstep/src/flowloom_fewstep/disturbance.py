"""How much a push on the way moves the end."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.layout import squared_distance
from flowloom.scores import Score
from flowloom.state import State, map_state, shape_of, take

__all__ = ["Disturbance"]


class Disturbance(Score):
    r"""Distance between ends of ways that were pushed in their middle and of the same ways undisturbed.

    The push is normal noise of the given size in every entry that is real and free, tangent to the space,
    once the solver has passed half of the time; ``pushed`` is the root of the mean squared distance of the
    ends over that of the push, 1 where it neither grows nor fades.

    Args:
        size: deviation of the push.
        n: ways, at most as many as there are examples; evenly spread over these.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {"pushed": "lower"}

    def __init__(self, size: float = 0.1, n: int = 1000) -> None:
        if size <= 0 or n < 1:
            raise ValueError(f"size is positive and n at least 1, got {size} and {n}")
        self.size, self.n = size, n

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``pushed``."""
        if not len(examples):
            raise ShapeError("score disturbance: there is no example to score")
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        some, geometry = Examples(take(examples.x, rows), cond), flow.geometry
        draws = torch.Generator(flow.device).manual_seed(seed)
        start, layout = flow.start_for(some, draws), flow.layout(cond)
        push = map_state(lambda v: self.size * v, Draw.like(start, draws).normal(shape_of(start)))
        if layout is not None:
            push = layout.still(push)
        begin, finish = flow.path.span
        middle, given = (begin + finish) / 2, list[float]()

        def disturb(x: State, t: float) -> State | None:
            if given or abs(t - begin) < abs(middle - begin) - 1e-9:
                return None
            moved: State = geometry.exp(x, geometry.to_tangent(x, push))
            given.append(float(squared_distance(geometry, x, moved, layout).double().mean()))
            return moved

        with flow.evaluating():
            calm = flow.solve(x0=start, cond=cond, seed=seed).x
            moved = flow.solve(x0=start, cond=cond, seed=seed, on_step=disturb).x
        apart = float(squared_distance(geometry, calm, moved, layout).double().mean())
        return {"pushed": (apart / given[0]) ** 0.5}
