"""How well a flow's steps follow the chords of a teacher's ways."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import read_as
from flowloom.fields.base import evaluate, time_tensor
from flowloom.flow import Flow
from flowloom.geometry.numerics import safe_sqrt
from flowloom.scores import Score
from flowloom.solvers import Euler, Heun
from flowloom.state import map_state, take
from flowloom.trained import Trained

__all__ = ["Chords"]


class Chords(Score):
    r"""Angle and distance of a flow's velocities from the chords of W windows of a teacher's ways.

    With :math:`x_k` the teacher's way at :math:`k / W` and :math:`c_k = W \log_{x_k} x_{k+1}`:
    ``chord_angle`` is the mean of :math:`1 - \cos(v(x_k, k/W), c_k)`, ``chord_error`` that of
    :math:`\|v(x_k, k/W) - c_k\|^2`. Both are 0 where W Euler steps follow the teacher exactly.

    Args:
        of: the teacher.
        windows: W.
        fine: steps of Heun of the teacher in a window.
        n: ways, at most as many as there are examples; evenly spread over these.
    """

    better: ClassVar[dict[str, Literal["lower", "higher"]]] = {
        "chord_angle": "lower",
        "chord_error": "lower",
    }

    def __init__(self, of: Trained, windows: int = 4, fine: int = 8, n: int = 1000) -> None:
        if min(windows, fine, n) < 1:
            raise ValueError(f"windows, fine and n count from 1, got {windows}, {fine} and {n}")
        self.of, self.windows, self.fine, self.n = of, windows, fine, n

    def require(self, flow: Flow) -> None:
        """Velocities alone have angles.

        Raises:
            IncompatibleError: the flow has none.
        """
        if not flow.geometry.continuous:
            raise IncompatibleError("score chords compares velocities, and discrete states have none")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``chord_angle`` and ``chord_error``."""
        if not len(examples):
            raise ShapeError("score chords: there is no example to score")
        rows = examples.evenly(self.n)
        cond = {name: value[rows] for name, value in examples.cond.items()}
        draws = torch.Generator(flow.device).manual_seed(seed)
        start = flow.start_for(Examples(take(examples.x, rows), cond), draws)
        count, space, layout = self.windows, flow.geometry, flow.layout(cond)
        if layout is not None:
            start, layout = layout.settled(start)
        with flow.evaluating(), self.of.flow.evaluating():
            field, teacher = read_as(flow.field(), "velocity"), read_as(self.of.field(), "velocity")
            x, angles, errors = start, 0.0, 0.0
            for begin, finish in pairwise(Euler(count).times((0.0, 1.0))):
                end = (
                    Heun(self.fine)
                    .solve(teacher, x, cond=cond, span=(begin, finish), generator=draws, layout=layout)
                    .x
                )
                chord = map_state(lambda v: v * count, space.log(x, end))
                said = evaluate(field, x, time_tensor(begin, x), cond, draws)
                if layout is not None:
                    chord, said = layout.still(chord), layout.still(said)
                sizes = safe_sqrt(space.inner(x, said, said) * space.inner(x, chord, chord)).clamp_min(1e-12)
                angles += float((1 - space.inner(x, said, chord) / sizes).double().mean())
                wrong = map_state(torch.sub, said, chord)
                errors += float(space.inner(x, wrong, wrong).double().mean())
                x = end
        return {"chord_angle": angles / count, "chord_error": errors / count}
