"""Laws of worlds."""

from __future__ import annotations

import torch

from flowloom.testing.laws import Context, Make, law
from flowloom_trajectories.control.env import Env, carried_out

_AGENTS = 6


@law("what is seen, brought and told has a row an agent, and is finite")
def check_shapes(make: Make, context: Context) -> None:
    """After a reset, and after a random step."""
    env: Env = make()
    draws = context.generator(1)
    state = env.reset(_AGENTS, draws)
    seen = env.observe(state)
    context.holds("observations", seen.shape == (_AGENTS, env.observation), f"{tuple(seen.shape)}")
    action = torch.randn(_AGENTS, env.action, generator=draws)
    after = env.step(state, action, draws)
    for name, value in (
        ("reward", env.reward(state, action, after)),
        ("over", env.over(after)),
        ("reached", env.reached(after)),
    ):
        context.holds(f"{name} has a number a row", value.shape == (_AGENTS,), f"{tuple(value.shape)}")
    context.holds("marks are boolean", env.over(after).dtype == env.reached(after).dtype == torch.bool)
    context.holds("what is seen is finite", env.observe(after).isfinite().all())


@law("an episode is a function of its generator and of what is done")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Two walks with the same draws, and one with other ones."""

    def walk(number: int) -> torch.Tensor:
        env: Env = make()
        draws = context.generator(number)
        actions = torch.randn(env.steps, _AGENTS, env.action, generator=draws)
        found = carried_out(env, lambda s, g, k: actions[k], env.reset(_AGENTS, draws), draws)
        return torch.cat([found.observations.flatten(), found.rewards.flatten()])

    first, again = walk(2), walk(2)
    context.holds("the same draws give the same walk", torch.equal(first, again))


@law("steps leave their state as it was")
def check_steps_change_nothing(make: Make, context: Context) -> None:
    """Where states are tensors."""
    env: Env = make()
    draws = context.generator(3)
    state = env.reset(_AGENTS, draws)
    if not isinstance(state, torch.Tensor):
        return
    before = state.clone()
    env.step(state, torch.randn(_AGENTS, env.action, generator=draws), draws)
    context.holds("the state is the same", torch.equal(state, before))


@law("returns stay within what the world says that they are", when=lambda env: env.returns is not None)
def check_returns(make: Make, context: Context) -> None:
    """Of random walks, which also end."""
    env: Env = make()
    draws = context.generator(4)
    actions = torch.randn(env.steps, _AGENTS, env.action, generator=draws)
    found = carried_out(env, lambda s, g, k: actions[k], env.reset(_AGENTS, draws), draws).returns
    low, high = env.returns
    context.holds("in the range", ((found >= low - 1e-4) & (found <= high + 1e-4)).all(), f"{found}")


@law("new episodes begin where they are wanted, and nowhere else")
def check_renew(make: Make, context: Context) -> None:
    """Rows that are not marked stay."""
    env: Env = make()
    draws = context.generator(5)
    state = env.reset(_AGENTS, draws)
    seen = env.observe(state).clone()
    rows = torch.arange(_AGENTS) % 2 == 0
    after = env.renew(state, rows, draws)
    context.holds("unmarked rows stay", torch.equal(env.observe(after)[~rows], seen[~rows]))
    context.holds("nothing new is over", not env.over(after)[rows].any())
