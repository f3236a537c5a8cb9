"""ProReflow: reflow within windows of the time, fewer and fewer of them, with direction above length."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.geometry.numerics import safe_sqrt
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path
from flowloom.schedules import CondOT
from flowloom.sources import Source
from flowloom.state import batch_size, leaves, map_state
from flowloom.trained import Trained
from flowloom_fewstep.tangents import scaled
from flowloom_fewstep.teachers import mistaught
from flowloom_fewstep.unit_time import require_unit_time
from flowloom_fewstep.windows import Window, WindowField, follow

__all__ = ["ProReflow"]


class ProReflow(Objective):
    r"""Straighten a flow within W windows, from where data are noised to where the teacher leads them.

    Ke et al. 2503.04824. With :math:`\tau_k = k / W`, x at :math:`\tau_k` on the path of real data, y where
    the teacher takes it at :math:`\tau_{k+1}`, and :math:`x_t` on the geodesic between them,

    .. math:: L = E\,\|\hat v - v\|^2 + \lambda \big(1 - \cos(\hat v, v)\big), \qquad
              \hat v = v_\theta(x_t, t), \quad v = W \log_x y \ \text{carried to } x_t

    where the norm is a mean over entries and the angle that of the whole state (aligned v-prediction). The
    progress is one of stages in a recipe: after W = 8 the student is the teacher of W = 4, which then needs
    few steps a window. Sampling takes W Euler steps. A diffusion's network enters as `diff2flow`.

    Where windows meet the velocity jumps, and a network that is continuous in time says the mean of both
    sides just where Euler steps ask it. With ``inside`` it is told no time nearer to a window's beginning
    than that share of it, in training and in sampling; this is ours and not the paper's.
    :math:`\lambda` and lengths of stages are not told by the paper as far as it was at hand.

    Args:
        teacher: whose flow is straightened, with its own guidance.
        path: where states come from: straight, or geodesic on curved spaces.
        windows: W.
        steps: of the teacher in a window.
        direction: lambda; 0 is piecewise rectified flow (PeRFlow, 2405.07510).
        condition_dropout: probability with which a row's conditions are withheld.
        inside: share of a window at its beginning in which the network is told the time at its end.

    Raises:
        IncompatibleError: states are tokens, or the path bends.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        teacher: Trained,
        path: Path | None = None,
        windows: int = 4,
        steps: int = 8,
        direction: float = 0.1,
        condition_dropout: float = 0.0,
        inside: float = 0.0,
    ) -> None:
        super().__init__()
        self.teacher, self.path = teacher, path or AffinePath()
        if not self.path.geometry.continuous:
            raise IncompatibleError("proreflow straightens velocities, and discrete states have none")
        if self.path.affine and not isinstance(self.path.schedule, CondOT):
            raise IncompatibleError(
                "proreflow draws straight lines between its windows' ends; use path: {use: affine, schedule: "
                "cond-ot}, and model: diff2flow for a diffusion's network"
            )
        require_unit_time("proreflow", self.path)
        require_dropout(condition_dropout)
        if min(windows, steps) < 1 or not 0 <= direction < math.inf:
            raise ValueError(
                "windows and steps count from 1, direction is at least 0 and finite; got "
                f"{windows}, {steps} and {direction}"
            )
        if not 0 <= inside < 1:
            raise ValueError(f"inside is a share of a window, from 0 and below 1, got {inside}")
        self.windows, self.steps, self.direction, self.inside = windows, steps, direction, inside
        self.condition_dropout = condition_dropout

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Conditions to withhold that the data lacks or the network needs; a teacher of another flow."""
        yield from dropout_clashes(self.condition_dropout, parts)
        yield from mistaught(self.teacher, parts, self.path)

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network, told times inside of windows."""
        return WindowField(model, self.path, source, self.windows, self.inside)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The teacher's steps through one window a row, and one network call."""
        n, draw, geometry = batch_size(batch.x1), Draw.like(batch.x1, step.generator), self.path.geometry
        share = draw.uniform((n,))
        start = draw.integers(self.windows, (n,)).to(share.dtype) / self.windows
        window = Window(start, torch.full_like(start, 1 / self.windows))
        x = batch.point(self.path, window.start, step.generator).x_t
        taught = read_as(self.teacher.field(), "velocity")
        end = follow(taught, x, window, self.steps, batch.cond, batch.layout, step.generator)
        point, way = geometry.geodesic(x, end, share)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        found = self.field(model)(point, window.at(share), cond)
        wanted = scaled(way, 1 / window.length)
        if batch.layout is not None:
            found, wanted = batch.layout.still(found), batch.layout.still(wanted)
        error = map_state(torch.sub, found, wanted)
        square = geometry.inner(point, error, error)
        sizes = safe_sqrt(geometry.inner(point, found, found) * geometry.inner(point, wanted, wanted))
        aslant = 1 - geometry.inner(point, found, wanted) / sizes.clamp_min(1e-12)
        entries = sum(leaf[0].numel() for _, leaf in leaves(point))
        parts = {"square": square.mean() / entries, "aslant": aslant.mean()}
        total = parts["square"] + self.direction * parts["aslant"]
        return Loss(total, {name: value.detach() for name, value in parts.items()})
