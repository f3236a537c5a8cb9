"""Batches of what the present policy did in a world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts, lacking_role
from flowloom.data import Dataset
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch
from flowloom.seeds import generator as generator_of
from flowloom.training.feeds import Feeding
from flowloom.training.feeds.own import OwnFeed
from flowloom.views import View
from flowloom_trajectories.control.advantage import advantages
from flowloom_trajectories.control.env import Env
from flowloom_trajectories.control.networks import RunningNorm
from flowloom_trajectories.control.policy_gradient import Acts, ClippedPolicy

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["OnPolicy"]

SEEN = "observation"


class OnPolicy(OwnFeed):
    """Rollouts of the present policy: every one of its actions once an epoch, for some epochs, then new ones.

    The flow acts by its own solver in ``envs`` worlds for ``unroll`` steps, from where the last rollout left
    them; an episode that is over, or out of time, is followed by a new one. Then the means of observations
    are updated, and only then is remembered what the objective needs of each action: ratios begin at 1.

    Args:
        env: where; injected from the recipe.
        data: rows whose conditions are observations and whose states are actions (``acts``), for their form;
            injected from the recipe.
        views: what is made of them; injected from the recipe.
        envs: worlds side by side.
        unroll: steps in each.
        epochs: over the same actions.
        gamma: discount of a step.
        lam: lambda of the advantages.
        reward_scale: factor of every reward.

    Raises:
        IncompatibleError: data and world do not fit.
    """

    def __init__(
        self,
        env: Env,
        data: Dataset,
        views: Sequence[View] = (),
        envs: int = 256,
        unroll: int = 30,
        epochs: int = 16,
        gamma: float = 0.995,
        lam: float = 0.95,
        reward_scale: float = 1.0,
    ) -> None:
        super().__init__(data, views, None, None, 1)
        if envs < 1 or unroll < 1 or epochs < 1 or not 0 <= gamma <= 1 or not 0 <= lam <= 1:
            raise ValueError(
                "envs, unroll and epochs count from 1, gamma and lam lie in [0, 1]; got "
                f"{envs}, {unroll}, {epochs}, {gamma}, {lam}"
            )
        told = self.spec.conditions.get(SEEN)
        if tuple(self.spec.shape) != (env.action,) or told is None or told.shape != (env.observation,):
            raise IncompatibleError(
                f"feed on-policy acts in {type(env).__name__} by {env.action} numbers from an '{SEEN}' of "
                f"{env.observation}, and the data have {self.spec.in_words()} under "
                f"{', '.join(self.spec.conditions) or 'nothing'}; use data: acts"
            )
        self.env, self.envs, self.unroll, self.epochs = env, envs, unroll, epochs
        self.gamma, self.lam, self.reward_scale = gamma, lam, reward_scale
        self.world: Any = None
        self.age = self.gained = torch.zeros(0)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """No network that judges actions."""
        yield from lacking_role("value", "feed", parts)

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with.

        Raises:
            IncompatibleError: the objective learns from no actions, or no network has the role ``value``.
        """
        super().start(feeding)
        flow = feeding.flow
        if not isinstance(flow.objective, ClippedPolicy):
            name = type(flow.objective).__name__
            raise IncompatibleError(f"feed on-policy is for objective fpo or gaussian-ppo, not for {name}")
        flow.roles["value"]  # which says so where there is none
        if flow.codec is not None:
            raise IncompatibleError("feed on-policy stores actions as they are; leave the codec out")
        if feeding.size > self.envs * self.unroll:
            raise IncompatibleError(
                f"a batch of {feeding.size} is larger than a rollout of {self.envs} x {self.unroll} actions; "
                "lower train.batch or raise feed.envs"
            )
        self.pieces = self.envs * self.unroll // feeding.size
        self.refresh_every = self.pieces * self.epochs

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Act, and judge the actions."""
        env, n = self.env, self.envs
        if self.world is None:
            self.world = env.reset(n, generator)
            self.age = torch.zeros(n, device=generator.device)
            self.gained = torch.zeros(n, device=generator.device)
        seen, actions, rewards, overs, cuts, returns, wins = ([] for _ in range(7))  # type: ignore[var-annotated]
        for _ in range(self.unroll):
            seen.append(env.observe(self.world))
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            action = flow.solve(n, cond={SEEN: seen[-1]}, seed=seed).x
            assert isinstance(action, Tensor)
            after = env.step(self.world, action, generator)
            reward = env.reward(self.world, action, after)
            self.age, self.gained = self.age + 1, self.gained + reward
            over = env.over(after)
            cut = ~over & (self.age >= env.steps)
            ended = over | cut
            returns.append(self.gained[ended])
            wins.append(env.reached(after)[ended])
            for kept, value in ((actions, action), (rewards, reward), (overs, over), (cuts, cut)):
                kept.append(value)
            self.world = env.renew(after, ended, generator) if bool(ended.any()) else after
            self.age = torch.where(ended, 0.0, self.age)
            self.gained = torch.where(ended, 0.0, self.gained)
        seen.append(env.observe(self.world))
        self._keep(flow, [torch.stack(rows, 1) for rows in (seen, actions, rewards, overs, cuts)], generator)
        found, won = torch.cat(returns), torch.cat(wins)
        if not len(found):
            return {}
        return {"episode_return": float(found.mean()), "success": float(won.float().mean())}

    def _keep(self, flow: Flow, told: Sequence[Tensor], generator: torch.Generator) -> None:
        """Rows for batches, from what was seen ``(n, T + 1, ...)``, and ``(n, T, ...)`` of the rest."""
        seen, actions, rewards, over, cut = told
        for module in flow.modules():
            if isinstance(module, RunningNorm):
                module.include(seen[:, :-1].flatten(0, 1))
        n, count = actions.shape[:2]
        flat = {SEEN: seen.flatten(0, 1).to(actions)}
        nothing = actions.new_zeros(len(flat[SEEN]), *actions.shape[2:])
        value = flow.roles["value"](nothing, nothing.new_zeros(len(nothing)), **flat).reshape(n, count + 1)
        gain = advantages(self.reward_scale * rewards, value, over, cut, self.gamma, self.lam)
        action, cond = actions.flatten(0, 1), {SEEN: seen[:, :-1].flatten(0, 1).to(actions)}
        objective = flow.objective
        assert isinstance(objective, ClippedPolicy)
        memory = objective.remember(flow.model, action, cond, generator)
        self.kept = {
            "action": action,
            SEEN: cond[SEEN],
            "advantage": gain.flatten(),
            "target": (gain + value[:, :-1]).flatten(),
            "valid": ~cut.flatten(),
            **{f"told.{name}": rows for name, rows in memory.items()},
        }

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """A piece of the actions in the order of its epoch."""
        epoch, piece = divmod(number, self.pieces)
        order = torch.randperm(
            self.stored, generator=generator_of(self.feeding.seed, "on-policy/order", epoch)
        )
        rows = order[piece * self.feeding.size :][: self.feeding.size].to(self.kept["action"].device)
        kept = {name: value[rows] for name, value in self.kept.items()}
        told = {k.removeprefix("told."): v for k, v in kept.items() if k.startswith("told.")}
        action = kept["action"]
        return Acts(
            torch.zeros_like(action),
            action,
            {SEEN: kept[SEEN]},
            None,
            advantage=kept["advantage"],
            target=kept["target"],
            valid=kept["valid"],
            told=told,
        )

    def tensors(self) -> Mapping[str, Tensor]:
        """The actions, and the worlds where a tensor says all of them."""
        if not isinstance(self.world, Tensor):
            return self.kept
        return {**self.kept, "world": self.world, "age": self.age, "gained": self.gained}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take both up again."""
        found = {name: value.to(self.feeding.device) for name, value in tensors.items()}
        if "world" in found:
            self.world, self.age, self.gained = (found.pop(name) for name in ("world", "age", "gained"))
        self.kept = found
