"""The exact law of the objects that a policy builds, where all states can be enumerated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom_gflownets.environment import Environment, TokenEnvironment
from flowloom_gflownets.policy import PolicyField


@dataclass(frozen=True)
class Target:
    """The law in proportion to the reward.

    Args:
        probabilities: of every state as an object, in the order of ``Environment.states``, float64.
        log_z: log of the sum of rewards.
    """

    probabilities: Tensor
    log_z: float


def target_of(environment: Environment) -> Target:
    """``R / Z`` by enumeration; where chance moves, the law that expected flows lead to, and their sum."""
    states = environment.states()
    if environment.chance(states[:1]) is None:
        log_reward = -environment.energy(states, {}).double()
        return Target(log_reward.softmax(0), float(log_reward.logsumexp(0)))
    assert isinstance(environment, TokenEnvironment)
    law, log_z = expected(environment)
    return Target(_ends(environment, law), log_z)


def expected(environment: TokenEnvironment) -> tuple[Tensor, float]:
    r"""The policy of expected flows in a tree, ``(states, actions)`` float64, and log of the root's flow.

    .. math:: F(s) = \sum_{s'} F(s') \text{ where the policy moves}, \quad
              F(s) = \sum_{s'} P_\mathrm{env}(s'|s) F(s') \text{ where chance does (2310.02779, section 3)}
    """
    states = environment.states()
    allowed, chance = environment.allowed(states), environment.chance(states)
    law = torch.where(allowed, 0.0, -torch.inf).double()
    if chance is not None:
        law = torch.where(chance.moves[:, None], chance.log_law.double(), law)
    ahead = torch.full(allowed.shape, -torch.inf, dtype=torch.float64)
    ahead[:, environment.stop] = -environment.energy(states, {}).double()
    row, action = allowed[:, :-1].nonzero(as_tuple=True)
    child = environment.index(environment.step(states[row], action))
    flow = (law + ahead).logsumexp(1)
    while True:
        ahead[row, action] = flow[child]
        later = (law + ahead).logsumexp(1)
        if torch.equal(later, flow):
            break
        flow = later
    policy = (law + ahead - flow[:, None]).exp()
    if chance is not None:
        policy = torch.where(chance.moves[:, None], law.exp(), policy)
    return policy, float(flow[environment.index(environment.root(1))[0]])


def log_partition(environment: Environment) -> float | None:
    """``log Z``: told by the environment, else by enumeration; None where neither knows it."""
    if environment.log_partition is not None:
        return environment.log_partition
    try:
        return target_of(environment).log_z
    except NotImplementedError:
        return None


@torch.no_grad()
def law_of(field: PolicyField) -> Tensor:
    r"""Probability of every state as an object, ``(states,)`` float64, by dynamic programming.

    .. math:: u(s_0) = 1, \quad u(s') = \sum_{s \to s'} u(s) P_F(s'|s), \quad p(x) = u(x) P_F(\mathrm{stop}|x)
    """
    environment = field.environment
    if not isinstance(environment, TokenEnvironment):
        raise IncompatibleError(f"the states of {type(environment).__name__} cannot be enumerated")
    states = environment.states()
    device = next(field.model.parameters()).device
    value = field(states.to(device), None, {})
    assert isinstance(value, Tensor)
    return _ends(environment, value.double().exp().cpu())


def _ends(environment: TokenEnvironment, law: Tensor) -> Tensor:
    """The law of objects under a policy given as a table, ``(states,)``."""
    states = environment.states()
    moves = [(law[:, a] > 0, a) for a in range(environment.stop)]
    into: list[tuple[Tensor, Tensor, Tensor]] = []
    for able, a in moves:
        rows = able.nonzero()[:, 0]
        children = environment.step(states[rows], torch.full((len(rows),), a))
        into.append((rows, environment.index(children), law[rows, a]))
    source, child, weight = (torch.cat(column) for column in zip(*into, strict=True))
    visits = torch.zeros(len(states), dtype=torch.float64)
    visits[environment.index(environment.root(1))] = 1
    # Flow arrives where all walks of a length are; there are no cycles, so it ends.
    now = visits.clone()
    while float(now.sum()) > 0:
        now = torch.zeros_like(visits).index_add(0, child, now[source] * weight)
        visits += now
    return visits * law[:, environment.stop]
