"""Rectified Diffusion: retraining on pairs of noise and what a diffusion makes of it."""

from __future__ import annotations

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives.base import PointObjective
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import AffinePath, Path, Point
from flowloom.sources import Source
from flowloom.state import Cond, State, map_state
from flowloom.times import TimeLaw
from flowloom.weights import Weight

__all__ = ["RectifiedDiffusion"]


class RectifiedDiffusion(PointObjective):
    r"""The data that a prediction implies, compared with the data of the pair (Wang et al. 2410.07303).

    .. math::
        E\,\sqrt{d^2 + c^2} - c, \quad d = \hat x_1(x_t, t) - x_1, \quad
        x_t = \alpha_t x_1 + \sigma_t x_0

    entry by entry, with :math:`(x_0, x_1)` a noise and where the model itself led it (``data: {use: samples,
    pairs: true}``). Schedule, prediction and sampler stay those of the model that is retrained: on its own
    pairs the way becomes first-order, which is all that one step needs, and no straight line. Rectified flow
    (2209.03003) is the case of the straight schedule, velocities and squares: objective flow-matching.

    Args:
        path: where the points come from, affine; injected from the recipe.
        times: law of t.
        weight: per-time weight.
        predict: what the network answers with, as it did before.
        huber: c, below which errors count by their square.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        predict: Quantity = "noise",
        huber: float = 1e-3,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path or AffinePath(), times, weight, condition_dropout)
        if not 0 < huber < float("inf"):
            raise ValueError(f"huber must be positive and finite, got {huber}")
        self.predict: Quantity = predict
        self.huber = huber
        if not self.path.affine:
            name = type(self.path).__name__
            raise IncompatibleError(f"rectified-diffusion reads data off an affine path, not {name}")

    @property
    def kind(self) -> Kind:
        """The quantity predicted."""
        return self.predict

    def compare(self, prediction: State, point: Point, cond: Cond) -> State:
        """Pseudo-Huber error of the implied data."""
        data = self.path.convert(prediction, point.x_t, point.t, self.predict, "data")
        c = self.huber

        def leaf(found: Tensor, wanted: Tensor) -> Tensor:
            return ((found - wanted).square() + c**2).sqrt() - c

        return map_state(leaf, data, point.x1)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network as a field of the predicted quantity."""
        return NetworkField(model, self.predict, self.path, source)
