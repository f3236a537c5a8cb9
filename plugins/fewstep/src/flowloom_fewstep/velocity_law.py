"""The whole law of the velocity at a point, by a flow within the flow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.fields.base import time_tensor
from flowloom.layout import mean_of_entries
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.state import Cond, State, batch_size, expand, map_state
from flowloom.times import TimeLaw, Uniform
from flowloom_fewstep.nested_mlp import Nested, TokenNested
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["DrawnVelocity", "VelocityLaw", "VelocityLawField"]


class VelocityLawField(Field):
    """The law of the velocity, ``p(v | x_t)``; read as a velocity, it draws one.

    Args:
        model: of both flows.
        path: the path of the outer one.
        inner_steps: Euler steps of the inner flow.
        source: the law of x0.
    """

    kind = "velocity-law"
    stochastic = True

    def __init__(self, model: nn.Module, path: Path, inner_steps: int, source: Source | None = None) -> None:
        self.model, self.path, self.geometry, self.source = model, path, path.geometry, source
        self.inner_steps = inner_steps
        self.told_by(model)

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """A velocity drawn at every state: one pass of the trunk, ``inner_steps`` of the head."""
        assert isinstance(x, Tensor)
        network = cast("Nested", self.model)
        features = network.features(x, t, cond)
        y = Draw.like(x, generator).normal(x.shape)
        for i in range(self.inner_steps):
            tau = time_tensor(i / self.inner_steps, x)
            y = y + network.head(y, tau, features) / self.inner_steps
        return y

    def calls(self, t: float, cond: Cond) -> int:
        """Passes of the head: what is many."""
        return self.inner_steps

    def as_kind(self, kind: Kind) -> Field | None:
        """A velocity that draws."""
        return DrawnVelocity(self) if kind == "velocity" else None


class DrawnVelocity(VelocityLawField):
    """The same, integrated by ordinary solvers: Euler, as each step is to draw once.

    Args:
        law: of the velocity.
    """

    kind = "velocity"

    def __init__(self, law: VelocityLawField) -> None:
        assert law.path is not None
        super().__init__(law.model, law.path, law.inner_steps, law.source)


class VelocityLaw(Objective):
    r"""Learn :math:`p(v | x_t)` by flow matching among velocities, where flow matching has their mean.

    .. math:: L = E\,\big\|a_\theta(x_t, t, y_\tau, \tau) - (v - y_0)\big\|^2, \qquad
              y_\tau = (1 - \tau)\, y_0 + \tau v, \quad y_0 \sim N(0, I), \quad v = \dot x_t

    A step draws v and goes along it, so that paths may cross and large steps keep the variance of the data.

    *Hierarchical rectified flow* (HRF2, Zhang et al. 2507.13350 and before): t uniform on [0, 1], one draw.
    Its coupled variant HRF2-D is this with ``coupling: {use: optimal-transport}``, whose batch says how many
    modes the law keeps. *Difference transition matching* (DTM, Shaul et al. 2506.23589): ``grid: T`` has the
    times k / T at which T steps of Euler stand, and ``draws`` inner pairs are taken for one pass of the
    trunk. Its variants token by token (ARTM, FHTM) are ``autoregressive-transitions``; the coupling of
    velocities (HRF2-V) is not here.

    Args:
        path: the outer one, affine on one flat tensor.
        times: law of t where there is no grid.
        grid: T.
        draws: inner pairs a state.
        inner_steps: Euler steps of the inner flow when sampling.
        condition_dropout: probability with which a row's conditions are withheld.

    Raises:
        IncompatibleError: the states are not flat, or times are not those of [0, 1].
        ValueError: an argument is out of range.
    """

    also = ("velocity",)

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        grid: int | None = None,
        draws: int = 1,
        inner_steps: int = 5,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.path, self.law = path or AffinePath(), times or Uniform()
        if not (self.path.affine and self.path.geometry.straight):
            raise IncompatibleError(
                "velocity-law adds noise to velocities, whose spaces differ from point to point on "
                f"{self.path.geometry}; use path: affine on one tensor"
            )
        require_unit_time("velocity-law", self.path, times)
        if (grid is not None and grid < 1) or draws < 1 or inner_steps < 1:
            raise ValueError("grid, draws and inner_steps are at least 1")
        require_dropout(condition_dropout)
        self.grid, self.draws, self.inner_steps = grid, draws, inner_steps
        self.condition_dropout = condition_dropout

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Conditions to withhold that the data lacks or the network needs."""
        yield from dropout_clashes(self.condition_dropout, parts)

    @property
    def kind(self) -> str:
        """The law of a velocity."""
        return "velocity-law"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The law, which draws when it is read as a velocity."""
        return VelocityLawField(model, self.path, self.inner_steps, source)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """One pass of the trunk, ``draws`` of the head.

        Raises:
            IncompatibleError: the network has no head.
        """
        if not isinstance(model, Nested):
            raise IncompatibleError(
                f"velocity-law asks its network twice, and {type(model).__name__} has no head of velocities; "
                "use model: nested-mlp, nested-dit or twin-unet"
            )
        n, layout, draw = batch_size(batch.x1), batch.layout, Draw.like(batch.x1, step.generator)
        if self.grid is None:
            t = self.law.sample(n, draw)
        else:
            t = draw.integers(self.grid, (n,)).to(draw.dtype or torch.float32) / self.grid
        point = batch.point(self.path, t, step.generator)
        x, velocity = point.x_t, point.velocity
        assert isinstance(x, Tensor)
        assert isinstance(velocity, Tensor)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        features = map_state(self._repeated, model.features(x, t, cond))
        y1 = self._repeated(velocity)
        y0, (tau, at) = draw.normal(y1.shape), _inner_times(model, y1, draw)
        error = model.head(y0 + at * (y1 - y0), tau, features) - (y1 - y0)
        free = None if layout is None or layout.free is None else self._repeated(layout.free)
        return Loss(mean_of_entries(error.square(), free).mean())

    def _repeated(self, rows: Tensor) -> Tensor:
        """The rows once for every draw."""
        return rows.repeat(self.draws, *(1,) * (rows.ndim - 1))


def _inner_times(model: Nested, y: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Times of the inner flow, uniform: of every token where the head draws tokens, else of every row.

    And the same at all entries of ``y``.
    """
    if isinstance(model, TokenNested):
        tau = draw.uniform((len(y), model.tokens))
        return tau, model.spread(tau, y)
    tau = draw.uniform((len(y),))
    return tau, expand(tau, y)
