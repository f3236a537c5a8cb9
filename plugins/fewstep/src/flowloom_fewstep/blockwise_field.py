"""Networks of blocks as fields: in few words, and remembering within a solve."""

from __future__ import annotations

import copy
from types import MappingProxyType

from torch import Tensor, nn

from flowloom.fields import Field, NetworkField
from flowloom.fields.base import onto_space
from flowloom.fields.wrapped import Wrapped
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, expand
from flowloom_fewstep.blockwise import BlockwiseModel

__all__ = ["BlockwiseField", "Remembering", "blocks_in", "renewed"]

KIND = "blockwise-velocity"


class _Velocity(Wrapped):
    """The same, called a velocity."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.kind = "velocity"


class BlockwiseField(NetworkField):
    """A velocity whose network has a trunk of features, for solvers that remember them.

    Args:
        model: a network of blocks.
        path: the path it was trained on.
        source: the law of x0.
    """

    readings = MappingProxyType({(KIND, "velocity"): _Velocity})

    def __init__(self, model: nn.Module, path: Path | None = None, source: Source | None = None) -> None:
        super().__init__(model, KIND, path, source)

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """The velocity, the trunk asked anew."""
        return onto_space(self.geometry, "velocity", x, self.model(x, t, **cond))


class Remembering(BlockwiseField):
    """The same in one solve: the trunk is asked where a piece of the time begins, R afterwards.

    Args:
        field: of a network of blocks.
    """

    def __init__(self, field: BlockwiseField) -> None:
        super().__init__(field.model, field.path, field.source)
        self.begun = 0.0
        self.features: Tensor | None = None

    def begin(self, t: float) -> None:
        """Forget what was known before ``t``."""
        self.begun, self.features = t, None

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """The velocity, from the features at the beginning of the piece."""
        model = self.model
        assert isinstance(model, BlockwiseModel)
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        if self.features is None:
            features = self.features = model.trunk(x, t, cond)
        elif len(self.features) != len(x):  # guidance began, or ended, within the piece
            features = model.trunk(x, t, cond)
        else:
            share = expand((t - self.begun) * model.pieces.count, self.features)
            features = self.features + share * model.change(x, t, cond)
        return onto_space(self.geometry, "velocity", x, model.velocity(x, t, features, cond))


def renewed(field: Field) -> Field:
    """A copy of a field that is called a velocity, and remembers where it is of a network of blocks.

    Args:
        field: of that kind, guidance around it included.
    """
    blocks = blocks_in(field)
    if blocks is None:
        return field
    found: Field = Remembering(blocks)
    if isinstance(field, Wrapped):
        found = copy.copy(field)
        found.field = renewed(field.field)
    found.kind = "velocity"
    return found


def blocks_in(field: Field) -> BlockwiseField | None:
    """The network of blocks in a field, guidance around it or not; None where there is none."""
    while isinstance(field, Wrapped):
        field = field.field
    return field if isinstance(field, BlockwiseField) and isinstance(field.model, BlockwiseModel) else None
