"""Environments: objects that are built step by step, and how much each is worth."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.spec import Spec
from flowloom.state import Cond, State


class Environment(ABC):
    """A directed acyclic graph of states with one root, in which every walk may end with the action ``stop``.

    States are token ids ``(n, *event)``. Actions are numbered; ``stop`` is the last one, and leaves the state
    as the finished object. Backward actions have the numbers of the forward ones that they undo.

    Attributes:
        spec: of the states.
        actions: number of actions, ``stop`` among them.
    """

    spec: Spec
    actions: int

    @property
    def stop(self) -> int:
        """The number of the action that ends a walk."""
        return self.actions - 1

    @abstractmethod
    def root(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """The state in which every walk starts, ``n`` times."""

    @abstractmethod
    def allowed(self, x: Tensor) -> Tensor:
        """Which actions there are: boolean ``(n, actions)``; at least one in every state."""

    @abstractmethod
    def parents(self, x: Tensor) -> Tensor:
        """Which actions may have led here: boolean ``(n, actions - 1)``; none at the root alone."""

    @abstractmethod
    def step(self, x: Tensor, action: Tensor) -> Tensor:
        """The state after an action, ``(n,)`` int64; ``stop`` leaves it."""

    @abstractmethod
    def back(self, x: Tensor, action: Tensor) -> Tensor:
        """The parent from which ``action`` leads to ``x``."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What a network reads of a state: ``(n, size)``, real-valued."""

    @abstractmethod
    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """``-log R(x)`` of finished objects in nats, ``(n,)``."""

    def states(self) -> Tensor:
        """All states, parents before children, where they can be enumerated.

        Raises:
            NotImplementedError: there are too many.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be enumerated")

    def index(self, x: Tensor) -> Tensor:
        """The place of states among `states`, int64 ``(n,)``."""
        raise NotImplementedError(f"{type(self).__name__} cannot be enumerated")


class HypergridEnergy(Energy):
    r"""Minus the log of the corners' reward of Bengio et al. (2106.04399, section 4.1), in nats.

    .. math:: R(x) = R_0 + \tfrac12 \prod_d 1[|y_d| > 0.25] + 2 \prod_d 1[0.3 < |y_d| < 0.4],
              \qquad y = x/(H-1) - 1/2

    Modes stand near the :math:`2^D` corners, behind regions of reward R0.

    Args:
        side: H.
        floor: R0.
    """

    def __init__(self, side: int, floor: float = 0.1) -> None:
        self.side, self.floor = side, floor

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """``-log R`` of coordinates ``(n, D)``: ``(n,)``."""
        assert isinstance(x, Tensor)
        away = (x / (self.side - 1) - 0.5).abs()
        outer = (away > 0.25).all(-1).float()
        ring = ((away > 0.3) & (away < 0.4)).all(-1).float()
        return -(self.floor + 0.5 * outer + 2.0 * ring).log()


class Hypergrid(Environment):
    """The grid ``{0 .. H-1}^D``: start at 0, add 1 to one coordinate, or stop anywhere (2106.04399).

    Args:
        side: H.
        dims: D.
        floor: R0, reward between the modes; the smaller, the harder the modes are to find.
    """

    def __init__(self, side: int = 8, dims: int = 2, floor: float = 0.1) -> None:
        if side < 2 or dims < 1 or floor <= 0:
            raise ValueError(f"a grid has side >= 2, dims >= 1 and floor > 0, got {side}, {dims} and {floor}")
        self.side, self.dims = side, dims
        self.reward = HypergridEnergy(side, floor)
        self.spec, self.actions = Spec(shape=(dims,), vocab=side), dims + 1

    def root(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """The corner 0."""
        return torch.zeros(n, self.dims, dtype=torch.int64, device=device)

    def allowed(self, x: Tensor) -> Tensor:
        """Coordinates below the edge, and stopping."""
        return torch.cat([x < self.side - 1, torch.ones_like(x[:, :1], dtype=torch.bool)], 1)

    def parents(self, x: Tensor) -> Tensor:
        """Coordinates above 0."""
        return x > 0

    def step(self, x: Tensor, action: Tensor) -> Tensor:
        """One more in a coordinate."""
        return x + torch.nn.functional.one_hot(action, self.actions)[:, :-1]

    def back(self, x: Tensor, action: Tensor) -> Tensor:
        """One less in a coordinate."""
        return x - torch.nn.functional.one_hot(action, self.dims)

    def features(self, x: Tensor) -> Tensor:
        """One-hot coordinates, ``(n, D H)``."""
        return torch.nn.functional.one_hot(x, self.side).flatten(1).float()

    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """That of the reward."""
        return self.reward(x, cond)

    def states(self) -> Tensor:
        """All H^D points by the sum of their coordinates."""
        if self.side**self.dims > 2**20:
            raise NotImplementedError(f"{self.side}^{self.dims} states are too many to enumerate")
        every = torch.cartesian_prod(*[torch.arange(self.side)] * self.dims).reshape(-1, self.dims)
        return every[every.sum(1).argsort(stable=True)]

    def index(self, x: Tensor) -> Tensor:
        """By their number in base H."""
        base = self.side ** torch.arange(self.dims - 1, -1, -1, device=x.device)
        places = torch.empty(self.side**self.dims, dtype=torch.int64)
        places[(self.states() * base.cpu()).sum(1)] = torch.arange(len(places))
        return places.to(x.device)[(x * base).sum(1)]

    @property
    def log_modes(self) -> float:
        """``log R`` in the middle of a mode."""
        return math.log(self.reward.floor + 2.5)
