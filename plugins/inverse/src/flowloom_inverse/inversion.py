"""From an example back to the noise that a flow makes it of, through the whole sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.fields import read_as
from flowloom.flow import Flow
from flowloom.guidance import Guidance, Unguided
from flowloom.metrics import Metric
from flowloom.solvers import Euler
from flowloom.solvers.walk import Call
from flowloom.state import Cond
from flowloom.tasks import Task, some_rows

__all__ = ["Edit", "Invert", "largest_rate"]

Inversion = Literal["euler", "predictor-corrector"]
_TARGET = "target"


@dataclass(frozen=True)
class _Sampler:
    """The whole way from noise to states, under some conditions: F(z)."""

    flow: Flow
    steps: int
    cond: Cond
    guidance: Guidance

    def __call__(self, noise: Tensor) -> Tensor:
        x = self.flow.solve(
            len(noise), x0=noise, solver=Euler(self.steps), guidance=self.guidance, cond=self.cond
        ).x
        assert isinstance(x, Tensor)
        return x

    def inverse(self, x: Tensor, how: Inversion, steps: int) -> Tensor:
        """Back along the field: about the noise that leads to ``x``."""
        with torch.no_grad(), self.flow.evaluating():
            field = read_as(self.flow.field(self.guidance), "velocity")
            call = Call(field, self.flow.conditions(len(x), self.cond))
            first, last = field.span
            times = [last + (first - last) * i / steps for i in range(steps + 1)]
            kept: Tensor | None = None
            for t, before in pairwise(times):
                if how == "euler":
                    slope = call(x, t)
                else:
                    # The step that is taken forwards has the slope of the earlier end.
                    guess = call(x, t) if kept is None else kept
                    slope = call(torch.add(x, guess, alpha=before - t), before)  # type: ignore[arg-type]
                assert isinstance(slope, Tensor)
                kept, x = slope, torch.add(x, slope, alpha=before - t)
        return x


def refined(sampler: _Sampler, noise: Tensor, target: Tensor, iterations: int, rate: float) -> Tensor:
    r""":math:`z \leftarrow z - \eta\,(F(z) - x)`, without any derivative (FlowOpt)."""
    for _ in range(iterations):
        noise = torch.sub(noise, sampler(noise) - target, alpha=rate)
    return noise


def largest_rate(
    flow: Flow, examples: Examples, steps: int = 10, iterations: int = 4, rate: float = 0.3
) -> float:
    r"""Below which FlowOpt contracts: least :math:`2\langle d, \Delta F\rangle / \|\Delta F\|^2` of pairs.

    As :math:`\|z^+ - z^*\|^2 = \|d\|^2 - 2\eta\langle d, \Delta F\rangle + \eta^2\|\Delta F\|^2` for a pair d
    apart. The pairs are those between two iterates: in random directions F is flatter, and the bound, which
    then is half as large again, is none.

    Args:
        flow: whose Euler sampler is F.
        examples: data to invert, with the conditions of the flow.
        steps: of the sampler.
        iterations: whose moves are measured, for every example.
        rate: of these moves.
    """
    cond = {k: v.to(flow.device) for k, v in examples.cond.items() if k in flow.known_conditions()}
    with torch.no_grad(), flow.evaluating():
        target = flow.encode(examples.to(flow.device)).x
    assert isinstance(target, Tensor)
    sampler, bound = _Sampler(flow, steps, cond, Unguided()), float("inf")
    noise = sampler.inverse(target, "euler", steps)
    made = sampler(noise)
    for _ in range(iterations):
        after = torch.sub(noise, made - target, alpha=rate)
        made_after = sampler(after)
        apart, change = (after - noise).flatten(1), (made_after - made).flatten(1)
        bound = min(bound, float((2 * (apart * change).sum(1) / change.square().sum(1)).min()))
        noise, made = after, made_after
    return bound


class Invert(Task):
    r"""Asks for held-out rows by the noise that a flow makes them of.

    The noise is found by walking back along the field (``iterations: 0``), then by FlowOpt:
    :math:`z \leftarrow z - \eta\,(F(z) - x)`, where F is the whole Euler sampler of ``steps`` steps and no
    derivative is taken. The answer is F(z).

    Args:
        steps: of the sampler F.
        iterations: of FlowOpt, each of ``steps`` evaluations; 0 is plain inversion.
        rate: eta; it contracts below `largest_rate`.
        inversion: where z begins: ``euler`` walks back with the slope of the present end of each step,
            ``predictor-corrector`` with that of the earlier end (UniInv), to which the slope before leads.
        inversion_steps: of the way back; ``steps`` where null.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        steps: int = 10,
        iterations: int = 8,
        rate: float = 0.3,
        inversion: Inversion = "predictor-corrector",
        inversion_steps: int | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if steps < 1 or iterations < 0 or (inversion_steps or 1) < 1:
            raise ValueError("steps and inversion_steps count from 1, iterations from 0")
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.steps, self.iterations, self.rate = steps, iterations, rate
        self.inversion: Inversion = inversion
        self.inversion_steps = inversion_steps or steps

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Rows to find the noise of, beside empty states, and the same rows."""
        if data.spec.parts or data.spec.vocab is not None or data.spec.ragged:
            raise IncompatibleError(f"{type(self).__name__} inverts flows of one real tensor of one size")
        truth = some_rows(data, n, generator)
        assert isinstance(truth.x, Tensor)
        return Examples(torch.zeros_like(truth.x), {**truth.cond, _TARGET: truth.x}), truth

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The rows as the flow makes them of the noise that was found."""
        cond = {k: v.to(flow.device) for k, v in asked.cond.items() if k in flow.known_conditions()}
        target = self._target(flow, asked)
        sampler = _Sampler(flow, self.steps, cond, Unguided())
        noise = sampler.inverse(target, self.inversion, self.inversion_steps)
        noise = refined(sampler, noise, target, self.iterations, self.rate)
        return self._decoded(flow, sampler(noise), asked)

    def shown(self, asked: Examples) -> Examples:
        """The rows whose noise is wanted."""
        return Examples(asked.cond[_TARGET])

    def _target(self, flow: Flow, asked: Examples) -> Tensor:
        with torch.no_grad(), flow.evaluating():
            x = flow.encode(Examples(asked.cond[_TARGET]).to(flow.device)).x
        assert isinstance(x, Tensor)
        return x

    def _decoded(self, flow: Flow, x: Tensor, asked: Examples) -> Examples:
        with torch.no_grad(), flow.evaluating():
            data = flow.decode(Examples(x)).x
        assert isinstance(data, Tensor)
        return Examples(data.cpu(), asked.cond)


class Edit(Invert):
    r"""Asks for held-out rows as another class: near the row, and of the class that is wanted.

    The noise of a row under its own class is found by walking back; FlowOpt then iterates with F under the
    *wanted* class and its guidance, towards the row. Few iterations are a strong edit, many a faithful one.
    The truth is the row itself under the wanted class: distances to it are changes, and judges of classes ask
    for the new one.

    Args:
        condition: the class that is changed.
        shift: the wanted class is so many further on, round the end.
        guidance: under the wanted class; none where null.
        steps: see `Invert`.
        iterations: see `Invert`.
        rate: see `Invert`.
        inversion: see `Invert`.
        inversion_steps: see `Invert`.
        metrics: see `Invert`.
        draws: see `Invert`.
        name: see `Invert`.
    """

    def __init__(
        self,
        condition: str = "label",
        shift: int = 5,
        guidance: Guidance | None = None,
        steps: int = 10,
        iterations: int = 4,
        rate: float = 0.3,
        inversion: Inversion = "predictor-corrector",
        inversion_steps: int | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(steps, iterations, rate, inversion, inversion_steps, metrics, draws, name)
        self.condition, self.shift, self.guidance = condition, shift, guidance

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Rows with their own class, and the same rows under the wanted one.

        Raises:
            IncompatibleError: the data have no such class.
        """
        classes = getattr(data.spec.conditions.get(self.condition), "classes", None)
        if classes is None:
            raise IncompatibleError(f"edit changes a class, and the data have no class '{self.condition}'")
        asked, truth = super().pose(data, n, generator)
        wanted = (truth.cond[self.condition] + self.shift) % classes
        told = {**asked.cond, "own": asked.cond[self.condition], self.condition: wanted}
        return Examples(asked.x, told), Examples(
            truth.x, {**truth.cond, self.condition: wanted}, truth.layout
        )

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The rows as the flow makes them of their noise under the wanted class."""
        cond = {k: v.to(flow.device) for k, v in asked.cond.items() if k in flow.known_conditions()}
        own = {**cond, self.condition: asked.cond["own"].to(flow.device)}
        target = self._target(flow, asked)
        noise = _Sampler(flow, self.steps, own, Unguided()).inverse(
            target, self.inversion, self.inversion_steps
        )
        sampler = _Sampler(flow, self.steps, cond, self.guidance or Unguided())
        noise = refined(sampler, noise, target, self.iterations, self.rate)
        return self._decoded(flow, sampler(noise), asked)
