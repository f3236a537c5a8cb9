"""Networks of one velocity block for every piece of the time, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.spec import Condition, Spec
from flowloom.state import Cond, State, Time
from flowloom_fewstep.segments import Segments

__all__ = ["BlockwiseMLP", "BlockwiseModel"]


class BlockwiseModel(nn.Module, ABC):
    r"""Small networks of velocities, one for each of M equal pieces of the time (Park et al. 2510.21167).

    .. math:: v(x, t) = v_m\big(x, t, F(x, t)\big), \qquad m = \lfloor M t \rfloor

    F, the trunk, is larger and shared; its features are those of a state, not of noise. A step calls one
    block. What F has become since the piece began is told by a small network, :math:`F(x_t, t) \approx
    F(x_{t_m}, t_m) + M (t - t_m) R(x_t, t)`, so that F need not be asked again.

    Attributes:
        pieces: of the time.
    """

    pieces: Segments
    conditional = True
    compile_safe = False  # rows are sorted by their block

    @abstractmethod
    def trunk(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """Features F of states, ``(batch, *places, width)``."""

    @abstractmethod
    def change(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """R, in the shape of the features.

        Raises:
            IncompatibleError: the network was made without it.
        """

    @abstractmethod
    def block(self, number: int, x: Tensor, t: Tensor, features: Tensor, cond: Cond) -> Tensor:
        """The velocity by one block, in the shape of ``x``."""

    @abstractmethod
    def aligned(self, features: Tensor, width: int) -> Tensor:
        """Features as those of a pretrained network, ``(batch, *places, width)``.

        Raises:
            IncompatibleError: the network has no head of this width.
        """

    @property
    @abstractmethod
    def remainder(self) -> nn.Module:
        """What R is made of."""

    def features(self, x: State, t: Time, cond: Cond) -> Tensor:
        """Features of the trunk, averaged over places: ``(batch, width)``."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        found = self.trunk(x, t, cond)
        return found if found.ndim == 2 else found.flatten(1, -2).mean(1)

    def velocity(self, x: Tensor, t: Tensor, features: Tensor, cond: Cond) -> Tensor:
        """The velocity, each row by the block of its time."""
        which = self.pieces.which(t)
        order, found = list[Tensor](), list[Tensor]()
        for number in range(self.pieces.count):
            rows = (which == number).nonzero()[:, 0]
            if len(rows):
                told = {name: value[rows] for name, value in cond.items()}
                order.append(rows)
                found.append(self.block(number, x[rows], t[rows], features[rows], told))
        if len(order) < 2:
            return found[0] if found else torch.zeros_like(x)
        return torch.cat(found)[torch.cat(order).argsort()]

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The velocity with the trunk asked here."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        return self.velocity(x, t, self.trunk(x, t, cond), cond)


class BlockwiseMLP(BlockwiseModel):
    """Perceptrons for blocks, trunk and R.

    Args:
        spec: of the states, one real tensor.
        segments: M.
        width: of the blocks.
        depth: hidden layers of a block.
        features: width of the features; 0 for blocks without a trunk.
        trunk_width: of the trunk.
        trunk_depth: hidden layers of the trunk.
        change_width: of R.
        aligned_width: of the features that a pretrained network has; 0 for no head.

    Raises:
        IncompatibleError: states are tokens or have parts.
    """

    def __init__(
        self,
        spec: Spec,
        segments: int = 4,
        width: int = 64,
        depth: int = 3,
        features: int = 0,
        trunk_width: int = 128,
        trunk_depth: int = 3,
        change_width: int = 32,
        aligned_width: int = 0,
    ) -> None:
        super().__init__()
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                "blockwise-mlp reads one tensor of numbers; the states are tokens or have parts"
            )
        if min(features, aligned_width) < 0:
            raise ValueError(f"features and aligned_width count from 0, got {features} and {aligned_width}")
        self.spec, self.pieces, self.width = spec, Segments(segments), features
        told = spec.plus({"features": Condition(shape=(features,))}) if features else spec
        self.blocks = nn.ModuleList(MLP(told, width, depth) for _ in range(segments))
        self.shared = MLP(spec, trunk_width, trunk_depth) if features else None
        self.rest = MLP(spec, change_width, 2) if features else None
        for network, size in ((self.shared, trunk_width), (self.rest, change_width)):
            if network is not None:
                network.out = nn.Linear(size, features)  # features in place of a state
        self.head = nn.Linear(features, aligned_width) if features and aligned_width else None

    def trunk(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One pass of the trunk; nothing where there is none."""
        return _read(self.shared, x, t, cond) if self.shared is not None else x.new_zeros(len(x), 0)

    def change(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One pass of R."""
        if self.rest is None:
            raise IncompatibleError("these blocks have no features; give model.features")
        return _read(self.rest, x, t, cond)

    def block(self, number: int, x: Tensor, t: Tensor, features: Tensor, cond: Cond) -> Tensor:
        """One pass of one block; withheld conditions leave it the features."""
        told = dict(cond)
        if self.width:
            null = told.pop("null", None)
            if null is not None:
                keys = [f"null_{name}" for name in self.spec.named("inform")]
                told |= {key: null | told.get(key, torch.zeros_like(null)) for key in keys}
            told["features"] = features
        out: Tensor = self.blocks[number](x, t, **told)
        return out

    def aligned(self, features: Tensor, width: int) -> Tensor:
        """A linear map of the features."""
        if self.head is None or self.head.out_features != width:
            raise IncompatibleError(
                f"features are compared with {width} others; give model.aligned_width: {width}"
            )
        out: Tensor = self.head(features)
        return out

    @property
    def remainder(self) -> nn.Module:
        """The perceptron of R."""
        if self.rest is None:
            raise IncompatibleError("these blocks have no features; give model.features")
        return self.rest


def _read(network: nn.Module, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
    assert isinstance(network, MLP)
    out: Tensor = network.out(network.features(x, t, cond))
    return out
