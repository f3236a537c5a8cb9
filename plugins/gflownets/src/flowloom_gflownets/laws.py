"""Laws of environments."""

from __future__ import annotations

import torch

from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom_gflownets.environment import Environment, TokenEnvironment


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
