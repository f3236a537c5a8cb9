"""The objective of equilibrium matching."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.fields import Field, Kind
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.objectives.base import Asked
from flowloom.paths import Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, State, expand, map_state
from flowloom.times import TimeLaw
from flowloom.weights import Weight
from flowloom_foundations.equilibrium.field import GRADIENT, GradientField
from flowloom_foundations.equilibrium.landscape import Form, Landscape, Slope
from flowloom_foundations.equilibrium.magnitudes import Magnitude, Truncated


class EquilibriumMatching(FlowMatching):
    r"""Learn the gradient of one landscape for all noise levels (2510.02300).

    .. math:: L = E\,\| \nabla_x E_\theta(x_t) - (x_0 - x_1)\, c(t) \|^2,

    where the network is never told t: whatever backbone it is, it is asked at time 0, here and in sampling.
    As c(1) = 0, data are equilibria. On other paths than the straight one, curved ones too, the target is
    :math:`-c(t)\, \dot x_t`. The field is of kind ``gradient``, for solvers that descend
    (``gradient-descent``, ``nesterov``); ODE solvers read it as the velocity :math:`-T \nabla E`.

    Args:
        path: see `FlowMatching`.
        times: law of the noise levels.
        weight: see `FlowMatching`.
        condition_dropout: see `FlowMatching`.
        magnitude: c(t); truncated at 0.8 with scale 4 where left out, as in the paper.
        landscape: ``implicit``: the network answers with the gradient. ``dot`` and ``norm`` (EqM-E): the
            gradient is that of the energy the network spells out, see `Landscape`, by a double backward.
        horizon: T, the length of the descent that ODE solvers integrate: 250 steps of 0.003 by default.
    """

    also = ("velocity",)

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        condition_dropout: float = 0.0,
        magnitude: Magnitude | None = None,
        landscape: Literal["implicit", "dot", "norm"] = "implicit",
        horizon: float = 0.75,
    ) -> None:
        super().__init__(path, times, weight, condition_dropout=condition_dropout)
        if horizon <= 0:
            raise ValueError(f"horizon must be positive, got {horizon}")
        self.magnitude = magnitude or Truncated()
        self.form: Form | None = None if landscape == "implicit" else landscape
        self.horizon = horizon

    @property
    def kind(self) -> Kind:
        """``gradient``, a kind of this plugin's."""
        return GRADIENT

    def ask(self, model: nn.Module, batch: Batch, step: Step) -> Asked:
        """The gradient at points of the path; where they lie on it stays untold."""
        return super().ask(Slope(model, self.form, batch.layout), batch, step)

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Squared error to ``-c(t) dx_t/dt``, which is ``(x0 - x1) c(t)`` on the straight path."""
        assert point.velocity is not None
        target = map_state(
            lambda v, t: -expand(self.magnitude(t.to(v.dtype)), v) * v, point.velocity, point.t
        )
        return super().compare(prediction, replace(point, velocity=target), cond)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The gradient of the landscape."""
        return GradientField(model, self.path, source, self.form, self.horizon)

    def energy(self, model: nn.Module) -> Landscape | None:
        """The energy that ``model`` spells out; None where only its gradient is known."""
        return None if self.form is None else Landscape(model, self.form)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network whose rows see each other has no energy of a row."""
        yield from super().clashes(parts)
        model = parts.get("model")
        if self.form is not None and not getattr(model, "batch_independent", True):
            yield Clash(
                "objective",
                "model",
                f"rows of {type(model).__name__} see each other, so that no row has an energy of its own; "
                "use landscape: implicit",
            )
