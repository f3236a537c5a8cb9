"""Laws of environments."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.geometry import Euclidean
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom_gflownets.environment import Environment, TokenEnvironment
from flowloom_gflownets.exact import log_partition
from flowloom_gflownets.policy import PolicyField
from flowloom_gflownets.trajectories import roll_out


def _of_tokens(environment: Environment) -> bool:
    return isinstance(environment, TokenEnvironment)


@law("going back undoes a step, and the masks know of each other", when=_of_tokens)
def check_steps_and_parents(make: Make, context: Context) -> None:
    """In every state of random walks from the root."""
    environment: TokenEnvironment = make()
    draws, x = context.generator(1), environment.root(16)
    context.holds("the root has no parents", not environment.parents(x).any())
    for _ in range(32):
        allowed = environment.allowed(x)[:, :-1]
        able = allowed.any(1)
        if not able.any():
            break
        action = torch.multinomial(allowed[able].float(), 1, generator=draws)[:, 0]
        after = environment.step(x[able], action)
        mark = environment.parents(after).gather(1, action[:, None])
        context.holds("the move just made leads to a parent", mark)
        context.holds("back undoes step", (environment.back(after, action) == x[able]).all())
        x = after


@law("the walks end: every state can be stopped at, or left", when=_of_tokens)
def check_walks_end(make: Make, context: Context) -> None:
    """And stopping leaves the state as it is."""
    environment: TokenEnvironment = make()
    x = environment.root(4)
    context.holds("an action is allowed", environment.allowed(x).any(1))
    stop = torch.full((4,), environment.stop)
    context.holds("stop leaves the state", (environment.step(x, stop) == x).all())


@law("the enumeration has every state once, parents first", when=_of_tokens)
def check_enumeration(make: Make, context: Context) -> None:
    """Where states can be enumerated."""
    environment: TokenEnvironment = make()
    try:
        states = environment.states()
    except NotImplementedError as error:
        raise NotApplicable(str(error)) from error
    places = environment.index(states)
    context.holds("index is the place", torch.equal(places, torch.arange(len(states))))
    row, action = environment.parents(states).nonzero(as_tuple=True)
    before = environment.index(environment.back(states[row], action))
    context.holds("parents come first", before < row)


@law("energies are finite, one for every object")
def check_energy(make: Make, context: Context) -> None:
    """At the root and after a step."""
    environment: Environment = make()
    energy = environment.energy(environment.root(3), {})
    context.holds("one number a row", energy.shape == (3,), f"{tuple(energy.shape)}")
    context.holds("finite", energy.isfinite().all())


WALKS = 32768


class _Constant(nn.Module):
    """Says the same of every state."""

    def __init__(self, said: Tensor) -> None:
        super().__init__()
        self.said = nn.Parameter(said)

    def forward(self, x: Tensor, t: Tensor | None = None, /, **cond: Tensor) -> Tensor:
        return self.said.expand(len(x), -1)


@law("weighted walks of any kernels find the partition function")
def check_partition_function(make: Make, context: Context) -> None:
    r"""``Z = E[R(x) prod p_B / p_F]`` over walks of the forward kernel, with and without a learned ``p_B``.

    It holds where densities are those of the draws, both kernels are measured alike, every object is within
    reach, and the way back is possible.
    """
    environment: Environment = make()
    if environment.chance(environment.root(1)) is not None:
        raise NotApplicable("where chance moves, walks are not the policy's alone")
    truth = log_partition(environment)
    if truth is None:
        raise NotApplicable("the partition function is not known")
    forward, backward = environment.heads
    said = environment.plain()
    raw = torch.cat([said + 0.1 * torch.randn(len(said), generator=context.generator(2)), torch.zeros(1)])
    model = _Constant(raw)
    field = PolicyField(model, environment, Euclidean())
    walks = roll_out(field, environment.root(WALKS), generator=context.generator(3))
    ahead, behind, _ = raw.expand(len(walks.x), -1).split([forward, backward, 1], -1)
    for own in (None, behind) if backward else (None,):
        gain = environment.log_forward(ahead, walks) - environment.log_backward(own, walks)
        context.holds("every move has a way back", gain.isfinite().all())
        sums = torch.zeros(WALKS).double().index_add(0, walks.walk, gain.double())
        weights = (-environment.energy(walks.ends, {}).double() - sums - truth).exp()
        noise = float(weights.std()) / math.sqrt(WALKS)
        context.within("mean weight / Z - 1", weights.mean() - 1, 5 * noise + 1e-3)
        context.holds("the estimate is worth something", noise < 0.1, f"deviation {noise:.2g}")


@law("chance has a law over what is allowed", when=_of_tokens)
def check_chance(make: Make, context: Context) -> None:
    """Along random walks from the root; it sums to one where chance moves."""
    environment: TokenEnvironment = make()
    draws, x = context.generator(1), environment.root(16)
    if environment.chance(x) is None:
        raise NotApplicable("nothing is left to chance")
    for _ in range(32):
        chance, allowed = environment.chance(x), environment.allowed(x)
        assert chance is not None
        law = chance.log_law.exp()[chance.moves]
        context.within("sum - 1", law.sum(-1) - 1, 1e-6)
        context.holds("nothing else happens", not (law[~allowed[chance.moves]] > 0).any())
        action = torch.multinomial(allowed.float(), 1, generator=draws)[:, 0]
        x = environment.step(x, action)
