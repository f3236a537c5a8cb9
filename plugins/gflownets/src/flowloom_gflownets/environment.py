"""Environments: objects that are built step by step, and how much each is worth."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom_gflownets.choice import one_of
from flowloom_gflownets.energies import Corners

if TYPE_CHECKING:
    from flowloom_gflownets.trajectories import Trajectories


@dataclass(frozen=True)
class Chance:
    """Where chance moves, and not the policy.

    Args:
        moves: rows in which it does, ``(n,)`` boolean.
        log_law: of its actions, ``(n, actions)``; rows of the policy say nothing.
    """

    moves: Tensor
    log_law: Tensor


class Environment(ABC):
    """A measurable graph of states with one root, in which every walk ends (Lahlou et al., 2301.12594).

    An environment knows which moves there are and of which families the kernels are; a network gives their
    parameters. Forward and backward kernels are densities with respect to measures that agree, or a balance
    of both has no meaning. A transition is a state, an action and the state after it.

    Attributes:
        spec: of the states.
        stop: the action that ends a walk.
        heads: how many numbers a network says of the forward and of the backward kernel.
        timed: True where the number of the step belongs to the state: networks are then told a time.
    """

    spec: Spec
    heads: tuple[int, int]
    timed: bool = False

    @property
    @abstractmethod
    def stop(self) -> int:
        """The number of the action that ends a walk."""

    @abstractmethod
    def root(self, n: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Tensor:
        """The state in which every walk starts, ``n`` times."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What a network reads of a state: ``(n, size)``, real-valued."""

    @abstractmethod
    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """``-log R(x)`` of finished objects in nats, ``(n,)``."""

    @abstractmethod
    def law(self, said: Tensor, x: Tensor) -> Tensor:
        """The forward kernel as `draw` takes it, from what a network said: log probabilities of tokens'
        actions, or parameters of a density."""

    @abstractmethod
    def draw(
        self, law: Tensor, x: Tensor, number: int, epsilon: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Actions ``(n,)`` and the states after them.

        Args:
            law: as `law` gives it.
            x: states.
            number: of the step, the same for all.
            epsilon: share of exploration.
            generator: of everything drawn.
        """

    @abstractmethod
    def log_forward(self, said: Tensor, walks: Trajectories) -> Tensor:
        """Log density of every transition under the forward kernel, ``(k,)``."""

    @abstractmethod
    def log_backward(self, said: Tensor | None, walks: Trajectories) -> Tensor:
        """Log density of every transition under the backward kernel, ``(k,)``.

        Where ``said`` is None, the kernel is one that needs no network.
        """

    def plain(self) -> Tensor:
        """What says kernels that go everywhere, ``(sum(heads),)``: environments are tried by it."""
        return torch.zeros(sum(self.heads))

    def time(self, number: Tensor) -> Tensor | None:
        """What a network is told of the numbers of steps ``(n,)``; None where they say nothing."""
        return None

    def guess(self, x: Tensor, number: Tensor) -> Tensor:
        """Log of a flow that a learned one starts from, ``(n,)``; 0 where none is known."""
        return torch.zeros(len(x), device=x.device)

    def chance(self, x: Tensor) -> Chance | None:
        """Where chance moves; None where nothing is left to it."""
        return None

    @property
    def log_partition(self) -> float | None:
        """Log of the sum or integral of rewards, where it is known without looking at every object."""
        return None

    def states(self) -> Tensor:
        """All states, parents before children, where they can be enumerated.

        Raises:
            NotImplementedError: there are too many.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be enumerated")

    def index(self, x: Tensor) -> Tensor:
        """The place of states among `states`, int64 ``(n,)``."""
        raise NotImplementedError(f"{type(self).__name__} cannot be enumerated")


class TokenEnvironment(Environment):
    """A directed acyclic graph of token ids ``(n, *event)``; every walk ends with the action ``stop``.

    Actions are numbered; ``stop`` is the last one, and leaves the state as the finished object. Backward
    actions have the numbers of the forward ones that they undo.

    Attributes:
        actions: number of actions, ``stop`` among them.
    """

    actions: int

    @property
    def stop(self) -> int:
        """The number of the action that ends a walk."""
        return self.actions - 1

    @property
    def heads(self) -> tuple[int, int]:  # type: ignore[override]
        """Logits of all actions, and of those that can be undone."""
        return self.actions, self.actions - 1

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

    def law(self, said: Tensor, x: Tensor) -> Tensor:
        """``log P_F(. | x)``, ``(n, actions)``, -inf where an action is not allowed."""
        own, chance = log_softmax(said, self.allowed(x)), self.chance(x)
        return own if chance is None else torch.where(chance.moves[:, None], chance.log_law, own)

    def draw(
        self, law: Tensor, x: Tensor, number: int, epsilon: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Actions of ``(1 - epsilon) P_F + epsilon U``; chance does not explore."""
        allowed, chance = self.allowed(x), self.chance(x)
        mixed = (1 - epsilon) * law.exp() + epsilon * allowed / allowed.sum(-1, keepdim=True)
        if chance is not None:
            mixed = torch.where(chance.moves[:, None], law.exp(), mixed)
        action = one_of(mixed, generator)
        return action, self.step(x, action)

    def log_forward(self, said: Tensor, walks: Trajectories) -> Tensor:
        """Of the actions taken."""
        return self.law(said, walks.x).gather(1, walks.action[:, None])[:, 0]

    def log_backward(self, said: Tensor | None, walks: Trajectories) -> Tensor:
        """Uniform over parents where nothing is said; 0 where a walk stops: an object has one last state."""
        parents, moves = self.parents(walks.after), walks.action != self.stop
        # Without parents there is only the root itself, stopped at.
        parents = parents | ~moves[:, None]
        logits = said if said is not None else torch.zeros(parents.shape, device=parents.device)
        action = walks.action.clamp_max(self.stop - 1)
        chosen = log_softmax(logits, parents).gather(1, action[:, None])[:, 0]
        return torch.where(moves, chosen, 0.0)


def log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log probabilities over what is allowed, -inf elsewhere; rows without anything allowed are all -inf."""
    masked = logits.masked_fill(~allowed, -torch.inf)
    return torch.where(allowed, masked - masked.logsumexp(-1, keepdim=True), -torch.inf)


class HypergridEnergy(Energy):
    """That of `Corners` at ``x / (H - 1)``: modes near the ``2^D`` corners, behind regions of reward R0.

    Args:
        side: H.
        floor: R0.
    """

    def __init__(self, side: int, floor: float = 0.1) -> None:
        self.side, self.floor, self.corners = side, floor, Corners(floor=floor)

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """``-log R`` of coordinates ``(n, D)``: ``(n,)``."""
        assert isinstance(x, Tensor)
        return self.corners(x / (self.side - 1), cond)


class Hypergrid(TokenEnvironment):
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

    def root(self, n: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Tensor:
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
