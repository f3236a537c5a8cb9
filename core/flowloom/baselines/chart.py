"""Points of a curved space as vectors about their mean, and back."""

from __future__ import annotations

from torch import Tensor

from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.geometry import Geometry

__all__ = ["Chart"]

_STEPS = 32


class Chart:
    """The tangent space at the mean of some points: flat coordinates for a wrapped Gaussian.

    The mean is Fréchet's, found by descent (Pennec 2006): of distances in the space, not of coordinates. On a
    flat space it is the mean and the chart subtracts it.

    Args:
        geometry: the space; flat where None.
        points: ``(m, *event)``.

    Raises:
        IncompatibleError: the space has no logarithm.
    """

    def __init__(self, geometry: Geometry | None, points: Tensor) -> None:
        self.geometry = None if geometry is None or geometry.straight else geometry
        self.mean = points[:1].double()
        if self.geometry is None:
            return
        try:
            points = points.double()
            for _ in range(_STEPS):
                step = self.to_vectors(points).mean(0, keepdim=True)
                self.mean = self.geometry.project(self.geometry.exp(self.mean, step))
        except (FlowloomError, NotImplementedError) as error:
            raise IncompatibleError(
                f"{self.geometry} has no mean and no chart about one ({error})"
            ) from error
        if not bool(self.mean.isfinite().all()):
            raise IncompatibleError(f"the mean of the training rows on {self.geometry} is not finite")

    def to_vectors(self, points: Tensor) -> Tensor:
        """Vectors that lead from the mean to points, in the shape of the points."""
        if self.geometry is None:
            return points.double()
        vectors: Tensor = self.geometry.log(self.mean.expand(points.shape), points.double())
        return vectors

    def to_points(self, vectors: Tensor) -> Tensor:
        """Points that vectors lead to."""
        if self.geometry is None:
            return vectors
        base = self.mean.expand(vectors.shape)
        points: Tensor = self.geometry.project(
            self.geometry.exp(base, self.geometry.to_tangent(base, vectors))
        )
        return points
