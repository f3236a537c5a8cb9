"""What reflected and mirrored flows are compared with: samples clipped when all is done."""

from __future__ import annotations

from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.geometry import Geometry
from flowloom.spec import Spec


class NearestInside(StateCodec):
    """Data are states as they are; states become data by the nearest point of a set: clipping, in a box.

    Args:
        spec: of the data; injected from the recipe.
        domain: the set.
    """

    def __init__(self, spec: Spec, domain: Geometry) -> None:
        super().__init__(spec)
        self.domain = domain

    def encode_state(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x

    def decode_state(self, x: Tensor) -> Tensor:
        """The nearest point."""
        nearest: Tensor = self.domain.project(x)
        return nearest
