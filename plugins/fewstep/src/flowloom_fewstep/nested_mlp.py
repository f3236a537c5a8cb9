"""A trunk that reads a state once, and a small head that flows through velocities many times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.models.embeddings import TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time

__all__ = ["Nested", "NestedMLP", "NestedModel", "TokenNested"]


@runtime_checkable
class Nested(Protocol):
    """A network of two flows: ``head(y, tau, features(x, t))`` is the inner flow's velocity at y."""

    def features(self, x: Tensor, t: Time, cond: Cond) -> State:
        """What the head is told of a state: tensors whose first dimension is the batch."""

    def head(self, y: Tensor, tau: Tensor, features: State) -> Tensor:
        """The inner velocity at ``y``, in its shape, at inner times ``tau`` ``(batch,)``."""


@runtime_checkable
class TokenNested(Nested, Protocol):
    """A `Nested` network whose head takes an inner time for every token, ``(batch, tokens)``.

    Attributes:
        tokens: of a state.
    """

    tokens: int

    def spread(self, tau: Tensor, y: Tensor) -> Tensor:
        """Times of tokens at all of their entries, in the shape of ``y``."""


class NestedModel(nn.Module, ABC):
    """A `Nested` network, which as any other one answers with the mean velocity."""

    @abstractmethod
    def features(self, x: Tensor, t: Time, cond: Cond) -> Tensor:
        """What the head is told of a state, ``(batch, ..., width)``."""

    @abstractmethod
    def head(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """The inner velocity at ``y``, in its shape, at inner times ``tau`` ``(batch,)``."""

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The mean outer velocity, which the inner flow from N(0, I) has at y = 0 and tau = 0."""
        assert isinstance(x, Tensor)
        features = self.features(x, t, cond)
        return self.head(torch.zeros_like(x), x.new_zeros(len(x)), features)


class NestedMLP(NestedModel):
    """The reference MLP as a trunk, and a smaller perceptron for a head.

    Args:
        spec: of the states, one tensor of numbers.
        width: of the trunk.
        depth: hidden layers of the trunk.
        head_width: of the head.
        head_depth: hidden layers of the head.

    Raises:
        IncompatibleError: the states are tokens or have parts.
    """

    conditional = True

    def __init__(
        self, spec: Spec, width: int = 128, depth: int = 3, head_width: int = 96, head_depth: int = 2
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, head_width=head_width, head_depth=head_depth)
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                "nested-mlp reads one tensor of numbers; the states are tokens or have parts"
            )
        self.spec = spec
        self.trunk = MLP(spec, width, depth)
        self.trunk.out = nn.Linear(width, head_width)  # features in place of a state
        size = spec.numel()
        self.time = TimeEmbedding(head_width, 64)
        self.inner = nn.ModuleList(
            nn.Linear(size if i == 0 else head_width, head_width) for i in range(head_depth)
        )
        self.mix = nn.ModuleList(nn.Linear(head_width, head_width) for _ in range(head_depth))
        self.last = nn.Linear(head_width, size)

    def features(self, x: Tensor, t: Time, cond: Cond) -> Tensor:
        """One pass of the trunk."""
        features: Tensor = self.trunk.out(self.trunk.features(x, t, cond))
        return features

    def head(self, y: Tensor, tau: Tensor, features: Tensor) -> Tensor:
        """One pass of the head."""
        hidden, told = y.flatten(1), nn.functional.silu(self.time(tau) + features)
        for layer, mix in zip(self.inner, self.mix, strict=True):
            hidden = nn.functional.silu(layer(hidden) + mix(told))
        out: Tensor = self.last(hidden)
        return out.reshape(y.shape)
