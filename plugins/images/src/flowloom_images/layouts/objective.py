"""Flow matching in which the task, what is given and what is to be made, changes from row to row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import Path
from flowloom.spec import Condition, Spec
from flowloom.state import State, map_state
from flowloom.times import TimeLaw
from flowloom.weights import Weight
from flowloom_images.layouts.spec import PARTS

LayoutTask = Literal["all", "complete", "types", "types-and-sizes"]

_GIVEN: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "complete": PARTS,
    "types": ("types",),
    "types-and-sizes": ("types", "size"),
}


class LayoutFlow(FlowMatching):
    r"""LayoutFlow (2403.18187): one network for every task, told which attributes are given.

    Each row draws a task: everything is free, or types are given, or types and sizes, or up to a fifth of
    the elements whole. With m = 1 where an attribute is free, x_t = m ((1-t) x_0 + t x_1) + (1-m) x_1 and

    .. math:: L = \mathrm{mean}\,(m (v - u))^2 + w\, \mathrm{mean}_{box}\,|m (v - u)|

    over the real elements of a row, given ones counted as the zeros they are. Declares a condition of role
    given for every part (``given_types`` ...), which the network reads.

    Args:
        spec: of the states, with the parts position, size and types; injected from the recipe.
        path: see `FlowMatching`.
        times: see `FlowMatching`.
        weight: see `FlowMatching`.
        predict: see `FlowMatching`.
        compare_as: see `FlowMatching`.
        tasks: those drawn, all as likely.
        box_weight: w, of the absolute error of boxes; the released code has 0.2.
        most: largest share of elements given in ``complete``.

    Raises:
        IncompatibleError: states have other parts.
    """

    def __init__(
        self,
        spec: Spec,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        predict: Quantity = "velocity",
        compare_as: Quantity | None = None,
        tasks: Sequence[LayoutTask] = ("all", "complete", "types", "types-and-sizes"),
        box_weight: float = 0.2,
        most: float = 0.2,
    ) -> None:
        super().__init__(path, times, weight, predict, compare_as)
        if set(spec.parts) != set(PARTS):
            raise IncompatibleError(
                "objective layout-flow is for layouts, with the parts position, size and types"
            )
        if not tasks or any(task not in _GIVEN for task in tasks):
            raise ValueError(f"tasks are among {', '.join(_GIVEN)}, got {list(tasks)}")
        self.tasks, self.box_weight, self.most = tuple(tasks), box_weight, most
        self.elements = spec.parts["position"].shape[0]

    def conditions(self) -> dict[str, Condition]:
        """Marks of what is given, part by part."""
        return {f"given_{part}": Condition(shape=(self.elements,), role="given", of=part) for part in PARTS}

    def marks(self, real: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """What is given of rows whose elements ``real`` ``(n, N)`` exist, by name of the condition."""
        return draw_marks(self.tasks, real, generator, self.most)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw a task for every row, then flow matching on what it leaves free."""
        x1 = batch.x1
        assert isinstance(x1, dict)
        position = x1["position"]
        assert isinstance(position, Tensor)
        real = None if batch.layout is None else batch.layout.at("position").real
        if real is None:
            real = torch.ones(position.shape[:2], dtype=torch.bool, device=position.device)
        marks = self.marks(real, step.generator)
        given = {part: marks[f"given_{part}"] for part in PARTS}
        layout = Layout(dict.fromkeys(PARTS, real), given)
        asked = self.ask(model, replace(batch, cond={**batch.cond, **marks}, layout=layout), step)
        # What is given has error 0; it counts in the mean, as in the paper.
        error: dict[str, Tensor] = layout.still(self.error(asked.prediction, asked.point))
        squares = _mean(error, PARTS, real, torch.square)
        box = _mean(error, ("position", "size"), real, torch.abs)
        t = asked.point.t
        rows = squares if self.weight is None or not isinstance(t, Tensor) else squares * self.weight(t)
        total = rows.mean() + self.box_weight * box.mean()
        return Loss(total, {"flow_matching": squares.mean().detach(), "box": box.mean().detach()})

    def error(self, prediction: State, point: Any) -> State:
        """Answer less target, both as what is compared, part by part."""
        answer = self.path.convert(prediction, point.x_t, point.t, self.predict, self.compare_as)
        target = {"velocity": point.velocity, "data": point.x1, "noise": point.x0}[self.compare_as]
        return map_state(torch.sub, answer, target)


def _mean(error: Mapping[str, Tensor], parts: Sequence[str], real: Tensor, of: Any) -> Tensor:
    """Mean over entries of real elements, parts side by side: ``(batch,)``."""
    values = of(torch.cat([error[part] for part in parts], -1))
    kept = torch.where(real[..., None], values, torch.zeros((), dtype=values.dtype, device=values.device))
    return kept.flatten(1).sum(1) / (real.sum(1) * values.shape[-1]).clamp_min(1)


def draw_marks(
    tasks: Sequence[LayoutTask], real: Tensor, generator: torch.Generator | None, most: float = 0.2
) -> dict[str, Tensor]:
    """What a task drawn for every row gives, by name of the condition: ``(n, N)`` for every part.

    Args:
        tasks: those drawn, all as likely.
        real: which elements exist ``(n, N)``.
        generator: of everything drawn.
        most: largest share of elements given in ``complete``.
    """
    n, where = len(real), generator.device if generator else real.device
    task = torch.randint(len(tasks), (n, 1), generator=generator, device=where).to(real.device)
    share = torch.rand(n, 1, generator=generator, device=where).to(real.device) * most
    key = torch.rand(real.shape, generator=generator, device=where).to(real.device)
    # As many elements as the share says and one more, but never all: those with the lowest keys.
    size = real.sum(1, keepdim=True)
    count = torch.minimum((share * size).long() + 1, (size - 1).clamp_min(0))
    rank = torch.where(real, key, 2.0).argsort(1).argsort(1)
    chosen = (rank < count) & real
    given = {}
    for part in PARTS:
        mark = torch.zeros_like(real)
        for number, name in enumerate(tasks):
            if part in _GIVEN[name]:
                mark = mark | ((task == number) & (chosen if name == "complete" else real))
        given[f"given_{part}"] = mark
    return given
