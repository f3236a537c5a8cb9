"""What a layout flow is asked: complete, place, size or refine given elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.state import State, map_state
from flowloom.tasks import Task, some_rows
from flowloom_images.layouts.objective import LayoutFlow, LayoutTask, draw_marks
from flowloom_images.layouts.spec import PARTS


class ArrangeLayout(Task):
    """Keeps what a task of LayoutFlow gives of some layouts, and makes the rest (2403.18187).

    Args:
        task: ``types``, ``types-and-sizes``, ``complete`` (up to a fifth of the elements are given), ``all``
            (only the number of elements is), or ``refine``: the layout itself is the state at time ``late``,
            its types given.
        late: where refinement starts; the paper's 0.97.
        noise: standard deviation by which boxes are moved that are to be refined, in pages; the paper's 0.01.
        solver: in place of the flow's own.
        metrics: see `flowloom.tasks.Task`.
        draws: see `flowloom.tasks.Task`.
        name: see `flowloom.tasks.Task`.
    """

    def __init__(
        self,
        task: LayoutTask | Literal["refine"] = "complete",
        late: float = 0.97,
        noise: float = 0.01,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if not 0 <= late < 1:
            raise ValueError(f"late must lie in [0, 1), got {late}")
        self.task, self.late, self.noise, self.solver = task, late, noise, solver

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Layouts of which only what the task gives is there, or that are moved a little; and whole.

        Raises:
            IncompatibleError: data are no layouts.
        """
        if set(data.spec.parts) != set(PARTS):
            raise IncompatibleError(f"arrange-layout asks about layouts, with the parts {', '.join(PARTS)}")
        truth = self._marked(some_rows(data, n, generator), generator)
        x, layout = truth.x, truth.layout
        assert isinstance(x, dict)
        assert layout is not None
        if self.task == "refine":
            shown = dict(x)
            for part in ("position", "size"):
                value = x[part]
                assert isinstance(value, Tensor)
                shown[part] = value + self.noise * torch.randn(value.shape, generator=generator)
        else:
            shown = {part: Layout(given=~layout.given[part]).still(x[part]) for part in PARTS}
        return Examples(shown, truth.cond, layout.holding(shown)), truth

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Layouts as data, with ``given_position`` and so on saying what was given.

        Marks that ``asked`` carries are kept; where it has none they are drawn by ``seed``.

        Raises:
            IncompatibleError: the flow was not trained as LayoutFlow is.
            ShapeError: there are no layouts.
        """
        if not isinstance(flow.objective, LayoutFlow):
            raise IncompatibleError(
                f"arrange-layout asks flows of objective: layout-flow, not {type(flow.objective).__name__}"
            )
        if not len(asked):
            raise ShapeError("arrange-layout was given no layouts to arrange")
        if not all(f"given_{part}" in asked.cond for part in PARTS):
            asked = self._marked(asked, torch.Generator().manual_seed(seed))
        cond = {k: v.to(flow.device) for k, v in asked.cond.items() if k in flow.known_conditions()}
        with torch.no_grad(), flow.evaluating():
            known = flow.encode(Examples(asked.x, cond).to(flow.device)).x
        given = {part: asked.cond[f"given_{part}"] for part in PARTS}
        layout = Layout(_real(cond, known), given, known).to(flow.device)
        start, span = (known, (self.late, 1.0)) if self.task == "refine" else (None, (0.0, 1.0))
        solved = flow.solve(
            len(asked), x0=start, span=span, solver=self.solver, cond=cond, layout=layout, seed=seed
        )
        with torch.no_grad(), flow.evaluating():
            found = map_state(Tensor.cpu, flow.decode(Examples(solved.x, cond)).x)
        # Data that were given are handed back as they came, not as they went through the codec.
        kept = Layout(given=given, values=asked.x).hold(found)
        return Examples(kept, asked.cond, Layout(_real(asked.cond, asked.x), given))

    def _marked(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same layouts, with conditions and a layout that say what is given."""
        real = _real(examples.cond, examples.x)
        one: LayoutTask = "types" if self.task == "refine" else self.task
        marks = draw_marks([one], real["position"], generator)
        layout = Layout(real, {part: marks[f"given_{part}"] for part in PARTS})
        return replace(examples, cond={**examples.cond, **marks}, layout=layout)


def _real(cond: Mapping[str, Tensor], x: State) -> dict[str, Tensor]:
    """Which elements exist, for every part."""
    assert isinstance(x, dict)
    place = x["position"]
    assert isinstance(place, Tensor)
    real = cond.get("real", torch.ones(place.shape[:2], dtype=torch.bool, device=place.device))
    return dict.fromkeys(PARTS, real.bool())
