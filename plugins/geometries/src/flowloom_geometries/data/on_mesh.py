"""Points of a mesh, more where an eigenfunction of its Laplacian is large."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import Geometry
from flowloom.spec import Spec
from flowloom_geometries.mesh.laplacian import spectrum
from flowloom_geometries.mesh.surface import MeshSurface


class MeshEigenfunction(Drawn):
    """Points of a mesh with density proportional to the positive part of an eigenfunction.

    The target densities of Chen and Lipman on the bunny and on Spot (2302.03660, section 5).

    Args:
        geometry: the `MeshSurface`; injected from the recipe where none is given.
        index: which nonzero eigenvalue, counted from 1.
        n: rows.
        seed: of the draws.
    """

    def __init__(self, geometry: Geometry, index: int = 10, n: int = 20_000, seed: int = 0) -> None:
        if not isinstance(geometry, MeshSurface):
            raise IncompatibleError(f"data mesh-function needs geometry: mesh, not {geometry}")
        if index < 1 or n < 1:
            raise DataError(f"index and n must be at least 1, got {index} and {n}")
        super().__init__(n, seed)
        self.mesh, self.index = geometry, index
        self._values: Tensor | None = None

    @property
    def spec(self) -> Spec:
        """Points ``(3,)``."""
        return Spec(shape=(3,))

    def density(self, x: Tensor) -> Tensor:
        """The density up to a constant, ``(n,)``."""
        if self._values is None:
            _, functions = spectrum(self.mesh.vertices, self.mesh.triangles, self.index)
            column = functions[:, -1]
            # The sign of an eigenfunction is arbitrary; fix it so that the largest value is positive.
            self._values = (column * column[column.abs().argmax()].sign()).clamp_min(0)
        face, weights = self.mesh.locate(x)
        return (self._values[self.mesh.triangles[face]] * weights.double()).sum(1)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Rejection from the uniform law."""
        self.density(self.mesh.vertices[:1].float())
        assert self._values is not None
        top = float(self._values.max())
        kept: list[Tensor] = []
        while sum(map(len, kept)) < n:
            x = self.mesh.random((4 * n, 3), Draw(generator, dtype=torch.float32))
            level = torch.rand(len(x), generator=generator, dtype=torch.float64) * top
            kept.append(x[level < self.density(x)])
        return Examples(torch.cat(kept)[:n])
