"""The flow-matching objective."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.fields.base import onto_space
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.objectives.base import PointObjective
from flowloom.paths import AffinePath, Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, State, map_state, part
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
        predict: what the network answers with; ``data`` and ``noise`` need a path that converts them
            (affine, geodesic). Predicted points are projected onto the space.
        compare_as: in which quantity the squared error is taken, where it differs from ``predict``
            (predict the data, compare velocities, say); a conversion is a per-time weight. Errors of data
            and noise are squared geodesic distances.
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
        if not self.path.geometry.continuous:
            raise IncompatibleError(
                "flow-matching regresses velocities, and discrete states have none; "
                "use objective: posterior, or product with one objective per part"
            )
        for quantity in (self.predict, self.compare_as):
            if not self.path.converts(quantity, "velocity"):
                raise IncompatibleError(f"{self.path.gap(quantity, 'velocity')}; use predict: velocity")

    @property
    def kind(self) -> Kind:
        """The quantity predicted."""
        return self.predict

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Squared Riemannian error of every point."""
        space = self.path.geometry
        value = onto_space(space, self.predict, point.x_t, prediction)
        if self.predict != self.compare_as:
            value = self.path.convert(value, point.x_t, point.t, self.predict, self.compare_as)
        if self.compare_as == "velocity":
            assert point.velocity is not None
            return _squared(space, point.x_t, map_state(torch.sub, value, point.velocity))
        wanted = point.x1 if self.compare_as == "data" else point.x0
        return _squared(space, wanted, space.log(wanted, value))

    def quieted(self, prediction: State, point: Point, layout: Layout) -> State:
        """Velocities stop; a predicted point of a curved space stays a point, the one where it was asked."""
        if self.predict == "velocity" or self.path.geometry.straight:
            return super().quieted(prediction, point, layout)
        standing: State = layout.stand(prediction, point.x_t)
        return standing

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network as a field of the predicted quantity."""
        return NetworkField(model, self.predict, self.path, source)


def _squared(geometry: Geometry, x: State, error: State) -> State:
    if isinstance(error, dict):
        return {k: _squared(geometry.part(k), part(x, k), e) for k, e in error.items()}
    squares: Tensor = geometry.inner_point(x, error, error)
    return squares
