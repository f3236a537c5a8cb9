"""What a layout flow is asked: complete, place, size or refine given elements."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.solvers import Solver
from flowloom.tasks import Task
from flowloom_images.layouts.objective import LayoutFlow, LayoutTask
from flowloom_images.layouts.spec import PARTS


class ArrangeLayout(Task):
    """Keeps what a task of LayoutFlow gives of some layouts, and makes the rest (2403.18187).

    Args:
        task: ``types``, ``types-and-sizes``, ``complete`` (up to a fifth of the elements are given), ``all``
            (only the number of elements is), or ``refine``: the layout itself is the state at time ``late``,
            its types given.
        late: where refinement starts; the paper's 0.97.
        solver: in place of the flow's own.
    """

    def __init__(
        self,
        task: LayoutTask | Literal["refine"] = "complete",
        late: float = 0.97,
        solver: Solver | None = None,
    ) -> None:
        if not 0 <= late < 1:
            raise ValueError(f"late must lie in [0, 1), got {late}")
        self.task, self.late, self.solver = task, late, solver

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> Examples:
        """Layouts as data, with ``given_position`` and so on saying what was given.

        Raises:
            IncompatibleError: the flow was not trained as LayoutFlow is.
            ShapeError: there are no layouts.
        """
        objective = flow.objective
        if not isinstance(objective, LayoutFlow):
            raise IncompatibleError(
                f"arrange-layout asks flows of objective: layout-flow, not {type(objective).__name__}"
            )
        n, where = len(examples), flow.device
        if not n:
            raise ShapeError("arrange-layout was given no layouts to arrange")
        draws = torch.Generator(where).manual_seed(seed)
        asked = {k: v.to(where) for k, v in examples.cond.items() if k in flow.known_conditions()}
        with torch.no_grad(), flow.evaluating():
            known = flow.encode(examples.to(where)).x
        assert isinstance(known, dict)
        place = known["position"]
        assert isinstance(place, Tensor)
        real = asked.get("real", torch.ones(place.shape[:2], dtype=torch.bool, device=where))
        one = "types" if self.task == "refine" else self.task
        marks = LayoutFlow(flow.spec, objective.path, tasks=[one]).marks(n, real, draws)
        given = {part: marks[f"given_{part}"] for part in PARTS}
        layout = Layout(dict.fromkeys(PARTS, real), given, known)
        start, span = (known, (self.late, 1.0)) if self.task == "refine" else (None, (0.0, 1.0))
        cond = {**asked, **marks}
        solved = flow.solve(n, x0=start, span=span, solver=self.solver, cond=cond, layout=layout, seed=seed)
        with torch.no_grad(), flow.evaluating():
            found = flow.decode(Examples(solved.x, cond))
        # Data that were given are handed back as they came, not as they went through the codec.
        kept = Layout(given={part: mark.cpu() for part, mark in given.items()}, values=examples.x).hold(
            found.to("cpu").x
        )
        return Examples(kept, {name: value.cpu() for name, value in cond.items()})
