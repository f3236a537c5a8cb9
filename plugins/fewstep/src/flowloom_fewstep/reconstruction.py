"""Fine-tuning a flow by what its few solver steps make of noise: maximum likelihood of reconstructions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, NetworkField, read_as
from flowloom.layout import squared_distance
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.solvers import Euler, Solver
from flowloom.sources import Source
from flowloom.trained import Trained
from flowloom_fewstep.teachers import mistaught

__all__ = ["Reconstruction"]


class Reconstruction(Objective):
    r"""The squared distance of what the solver makes of x0 from the data of that x0 (2510.02081, FT-FM).

    .. math:: L = E\, d\big(\mathrm{solve}_K(v_\theta, x_0, c),\ x_1\big)^2 ,

    the negative log likelihood of the reconstruction under a Gaussian of fixed width, with gradients through
    all K steps: the flow is trained as it is used, and becomes one of this solver. A target must belong to
    its noise, or the answer is the mean of all targets. So :math:`x_0` is where the frozen ``base`` leads
    :math:`x_1` backwards, in fine steps; ``paired: given`` takes the coupled ends as they are, for
    conditional tasks with one answer. The paper's exact rule of pairing was not at hand.

    Args:
        base: the flow before; encodes the data as noise.
        path: of the flow; any continuous space.
        unrolled: the solver and its number of steps, those of sampling.
        backwards: the solver that encodes.
        paired: whether noise is what the base makes of the data, or the coupled x0.

    Raises:
        IncompatibleError: states are tokens, or the unrolled solver draws.
    """

    def __init__(
        self,
        base: Trained,
        path: Path | None = None,
        unrolled: Solver | None = None,
        backwards: Solver | None = None,
        paired: str = "encoded",
    ) -> None:
        super().__init__()
        self.base, self.path = base, path or AffinePath()
        self.unrolled, self.backwards = unrolled or Euler(3), backwards or Euler(40)
        if not self.path.geometry.continuous:
            raise IncompatibleError("reconstruction differentiates a solve, and discrete states jump")
        if self.unrolled.stochastic or self.backwards.stochastic:
            raise IncompatibleError(
                "reconstruction follows an ODE there and back; take euler, midpoint or heun"
            )
        if paired not in ("encoded", "given"):
            raise ValueError(f"paired is encoded or given, not {paired!r}")
        self.paired = paired

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A base of another flow; on whichever path, as it walks its own."""
        yield from mistaught(self.base, parts, None, "base")

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return NetworkField(model, "velocity", self.path, source)

    def encoded(self, batch: Batch) -> Batch:
        """The batch with the noise that the base makes of its data."""
        if self.paired == "given":
            return batch
        field = read_as(self.base.field(), "velocity")
        start, end = field.span
        with torch.no_grad():
            back = self.backwards.solve(
                field, batch.x1, cond=batch.cond, span=(end, start), layout=batch.layout
            )
        return Batch(back.x, batch.x1, batch.cond, batch.layout)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """One solve with gradient, and one of the base without."""
        batch = self.encoded(batch)
        made = self.unrolled.solve(
            self.field(model), batch.x0, cond=batch.cond, generator=step.generator, layout=batch.layout
        )
        return Loss(squared_distance(self.path.geometry, made.x, batch.x1, batch.layout).mean())
