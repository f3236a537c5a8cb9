"""The flow-matching objective."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.fields.base import tangent
from flowloom.fields.convert import convert
from flowloom.geometry import Product
from flowloom.objectives.base import PointObjective
from flowloom.paths import AffinePath, Path, Point
from flowloom.state import Cond, State, map_state
from flowloom.times import TimeLaw
from flowloom.weights import Weight

Quantity = Literal["velocity", "data", "noise"]


class FlowMatching(PointObjective):
    r"""Regress a network onto the conditional path: :math:`E\,\|v_\theta(x_t, t) - u_t\|_g^2`.

    Lipman et al. 2210.02747; on manifolds, with the Riemannian norm and the output projected onto the
    tangent space, Chen and Lipman 2302.03660. Rows are averaged over their points (entries, for Euclidean
    states), padding excluded.

    Args:
        path: where the points come from; injected from the recipe where none is given.
        times: law of t.
        weight: per-time weight.
        predict: what the network answers with. ``data`` and ``noise`` need an affine path.
        compare_as: in which quantity the squared error is taken, where it differs from ``predict``
            (predict the data, compare velocities, say); a conversion is a per-time weight.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        predict: Quantity = "velocity",
        compare_as: Quantity | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path or AffinePath(), times, weight, condition_dropout)
        self.predict: Quantity = predict
        self.compare_as: Quantity = compare_as or predict
        wants_affine = self.predict != "velocity" or self.compare_as != "velocity"
        if wants_affine and not self.path.affine:
            raise IncompatibleError(
                f"predict: {predict} and compare_as: {self.compare_as} need an affine path, and "
                f"{type(self.path).__name__} is not; use predict: velocity"
            )
        if not self.path.geometry.continuous:
            raise IncompatibleError(
                "flow-matching regresses velocities, and discrete states have none; "
                "use objective: posterior, or product with one objective per part"
            )

    @property
    def kind(self) -> Kind:
        """The quantity predicted."""
        return self.predict

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Squared Riemannian error of every point."""
        prediction = tangent(self.path.geometry, self.predict, point.x_t, prediction)
        if self.predict != self.compare_as:
            assert self.path.schedule is not None
            prediction = convert(
                prediction, point.x_t, point.t, self.path.schedule, self.predict, self.compare_as
            )
        target = {"velocity": point.velocity, "data": point.x1, "noise": point.x0}[self.compare_as]
        error = map_state(torch.sub, prediction, target)
        return _squared(self.path.geometry, point.x_t, error)

    def field(self, model: nn.Module, source_std: float | None = None) -> Field:
        """The network as a field of the predicted quantity."""
        return NetworkField(model, self.predict, self.path, source_std)


def _squared(geometry: Any, x: State, error: State) -> State:
    if isinstance(error, dict):
        parts = geometry.parts if isinstance(geometry, Product) else dict.fromkeys(error, geometry)
        return {k: _squared(parts[k], x[k], e) for k, e in error.items()}  # type: ignore[index]
    squares: Tensor = geometry.inner_point(x, error, error)
    return squares
