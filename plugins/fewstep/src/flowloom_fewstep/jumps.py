"""Flow maps whose network is not told how far to jump, or answers with where it lands."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import SPAN, FlowMap
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, axpy

__all__ = ["JumpMap"]


class JumpMap(FlowMap):
    """A network that jumps: one step of a grid, or any step that it is told as the setting ``span``.

    Args:
        model: called as ``model(x, s, **cond)``, with ``span=t - s`` where any step may be asked for.
        path: the path it was trained on, in flat space.
        predict: what it answers with: the state at the target time (``data``), or the velocity there.
        steps: of the grid that it was trained on; None for any.
        source: the law of x0.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path,
        predict: Literal["data", "velocity"],
        steps: int | None,
        source: Source | None = None,
    ) -> None:
        self.model, self.path, self.geometry, self.source = model, path, path.geometry, source
        self.predict, self.steps = predict, steps
        self.told_by(model)

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """One network call.

        Raises:
            SolverError: the jump is not one of the grid.
        """
        # Times carry the rounding of the states' precision.
        near = max(1e-4, 2 * torch.finfo(t.dtype).eps)
        if self.steps is not None and float((t - s - 1 / self.steps).abs().max()) > near:
            raise SolverError(
                f"this network knows jumps of 1/{self.steps} alone, and is asked for one of "
                f"{float((t - s).max()):.4g}; use solver: {{use: flow-map, steps: {self.steps}}}"
            )
        return self.landing(x, s, t, cond)

    def landing(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """The same without asking whether the jump is known."""
        told = cond if self.steps is not None else {**cond, SPAN: t - s}
        answer: State = self.model(x, s, **told)
        return answer if self.predict == "data" else axpy(x, t - s, answer)

    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        """The network where it answers with velocities of any step.

        Raises:
            IncompatibleError: it knows no step of length 0.
        """
        if self.predict == "data" or self.steps is not None:
            raise IncompatibleError("this flow map jumps and has no velocity; use solver: flow-map")
        return self.model(x, t, **{**cond, SPAN: t * 0})
