"""Policies: the network, and the field that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.fields import Field
from flowloom.geometry import Geometry
from flowloom.state import Cond, State
from flowloom_gflownets.environment import Environment

KIND = "policy"


@dataclass(frozen=True)
class Said:
    """What a network says of states.

    Args:
        forward: logits of the actions, ``(n, actions)``; log edge flows for flow matching.
        backward: logits of the actions that led there, ``(n, actions - 1)``.
        log_flow: log of the flow through the state, ``(n,)``.
    """

    forward: Tensor
    backward: Tensor
    log_flow: Tensor


class PolicyMLP(nn.Module):
    """One network with three heads: forward policy, backward policy and state flow (2201.13259, section 5.1).

    Every objective of the plugin trains the same network, and uses the heads that it needs.

    Args:
        environment: injected from the recipe.
        width: hidden units.
        depth: hidden layers.
    """

    def __init__(self, environment: Environment, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.environment, self.spec = environment, environment.spec
        size = environment.features(environment.root(1)).shape[1]
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.LeakyReLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.actions = environment.actions
        self.head = nn.Linear(size, 2 * self.actions)

    def forward(self, x: Tensor, t: Any = None, /, **cond: Tensor) -> Tensor:
        """The three heads side by side, ``(n, 2 actions)``; there is no time."""
        answer: Tensor = self.head(self.body(self.environment.features(x)))
        return answer


def read(model: nn.Module, x: Tensor, cond: Cond | None = None) -> Said:
    """Ask a network of states ``(n, *event)``."""
    raw: Tensor = model(x, None, **(cond or {}))
    actions = raw.shape[-1] // 2
    return Said(raw[:, :actions], raw[:, actions:-1], raw[:, -1])


def log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log probabilities over what is allowed, -inf elsewhere; rows without anything allowed are all -inf."""
    masked = logits.masked_fill(~allowed, -torch.inf)
    return torch.where(allowed, masked - masked.logsumexp(-1, keepdim=True), -torch.inf)


class PolicyField(Field):
    """A forward policy: log probabilities of the actions in a state.

    Args:
        model: the network.
        environment: what is built.
        geometry: of the states.
    """

    kind = KIND

    def __init__(self, model: nn.Module, environment: Environment, geometry: Geometry) -> None:
        self.model, self.environment, self.geometry = model, environment, geometry

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """``log P_F(. | x)``, ``(n, actions)``, -inf where an action is not allowed."""
        assert isinstance(x, Tensor)
        return log_softmax(read(self.model, x, cond).forward, self.environment.allowed(x))
