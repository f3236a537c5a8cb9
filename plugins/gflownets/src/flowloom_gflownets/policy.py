"""Policies: the network, and the field that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.fields import Field
from flowloom.geometry import Geometry
from flowloom.models.embeddings import sinusoid
from flowloom.models.sizes import require_sizes
from flowloom.state import Cond, State
from flowloom_gflownets.environment import Environment

KIND = "policy"
TIMES = 16
"""Features of a time."""


@dataclass(frozen=True)
class Said:
    """What a network says of states.

    Args:
        forward: of the forward kernel: logits of tokens' actions (log edge flows for flow matching).
        backward: of the backward kernel: logits of the actions that led there.
        log_flow: log of the flow through the state, ``(n,)``, over the environment's guess.
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
        require_sizes(width=width, depth=depth)
        self.environment, self.spec = environment, environment.spec
        size = environment.features(environment.root(1)).shape[1] + (TIMES if environment.timed else 0)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.LeakyReLU()]
            size = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(size, sum(environment.heads) + 1)

    def forward(self, x: Tensor, t: Any = None, /, **cond: Tensor) -> Tensor:
        """The three heads side by side, ``(n, sum(heads) + 1)``; times are read where states have them."""
        # Of tokens an environment makes numbers in no precision but its own.
        features = self.environment.features(x).to(self.head.weight)
        if self.environment.timed:
            features = torch.cat([features, sinusoid(t.to(features), TIMES)], -1)
        answer: Tensor = self.head(self.body(features))
        return answer


def read(
    environment: Environment, model: nn.Module, x: Tensor, number: Tensor, cond: Cond | None = None
) -> Said:
    """Ask a network of states ``(n, *event)``, met as the ``number``-th of their walks, ``(n,)``."""
    raw: Tensor = model(x, environment.time(number), **(cond or {}))
    forward, backward, flow = raw.split([*environment.heads, 1], -1)
    return Said(forward, backward, flow[:, 0])


class PolicyField(Field):
    """A forward policy: the kernel of the next move from a state.

    Args:
        model: the network.
        environment: what is built.
        geometry: of the states.
        temperature: of the logits; above 1 the policy is softer (tokens only).
    """

    kind = KIND

    def __init__(
        self, model: nn.Module, environment: Environment, geometry: Geometry, temperature: float = 1.0
    ) -> None:
        self.model, self.environment, self.geometry = model, environment, geometry
        self.temperature = temperature

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """As `Environment.law` gives it: ``log P_F(. | x)``, ``(n, actions)``, where states are tokens."""
        assert isinstance(x, Tensor)
        # A network may know a shorter way to the forward kernel alone, which is all that walking takes.
        ask = getattr(self.model, "kernel", self.model)
        said: Tensor = ask(x, t, **cond)[:, : self.environment.heads[0]]
        return self.environment.law(said if self.temperature == 1 else said / self.temperature, x)
