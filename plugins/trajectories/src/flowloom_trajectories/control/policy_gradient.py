"""Clipped policy gradients of flows: FPO, and PPO of a Gaussian beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, FlowMatching, Loss, Step, Turn
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import Path
from flowloom.state import Cond
from flowloom.times import TimeLaw
from flowloom_trajectories.control.networks import GaussianPolicy

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["FPO", "Acts", "ClippedPolicy", "GaussianPPO"]


@dataclass(frozen=True, kw_only=True)
class Acts(Batch):
    """Actions x1 that a policy took, and what became of them.

    Args:
        advantage: ``(n,)``.
        target: what the value should have been, ``(n,)``.
        valid: False where the time was up, ``(n,)``.
        told: what the objective remembered of each action, a row each.
    """

    advantage: Tensor
    target: Tensor
    valid: Tensor
    told: Mapping[str, Tensor]


class ClippedPolicy(FlowMatching):
    r"""Descends the clipped objective of PPO (1707.06347) by ratios that a subclass tells.

    .. math:: L = -E \min\big(\rho A,\ \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon)\,A\big)
              + w\,E\,(V - V_{target})^2

    Advantages are standardised within a batch. Values are those of the role ``value``. A batch of
    demonstrations, which no policy took (``feed: rows``), is learned by plain flow matching.

    Args:
        path: see `FlowMatching`.
        times: see `FlowMatching`.
        clip: epsilon.
        value_weight: w.
        predict: see `FlowMatching`.
        compare_as: see `FlowMatching`.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        clip: float = 0.05,
        value_weight: float = 0.25,
        predict: Quantity = "velocity",
        compare_as: Quantity | None = None,
    ) -> None:
        super().__init__(path, times, predict=predict, compare_as=compare_as)
        if not clip > 0 or not value_weight >= 0:
            raise ValueError(f"clip is positive and value_weight at least 0, got {clip} and {value_weight}")
        self.clip, self.value_weight = clip, value_weight

    @abstractmethod
    def remember(
        self, model: nn.Module, action: Tensor, cond: Cond, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """What must be known later of actions ``(n, *event)`` that ``model`` took, a row each."""

    @abstractmethod
    def log_ratio(self, model: nn.Module, batch: Acts) -> Tensor:
        r""":math:`\log\rho` of the actions of a batch: 0 for the model that took them.

        ``(n,)``, or ``(n, M)`` where an action has several ratios, which are clipped each by itself.
        """

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn, of policy and value together."""

        def loss(batch: Batch, step: Step) -> Loss:
            own = self.loss(flow.model, batch, step)
            if not isinstance(batch, Acts):
                return own
            value = flow.roles["value"](batch.x1, torch.zeros_like(batch.target), **batch.cond)
            off = ((value - batch.target) * batch.valid).square().mean()
            assert isinstance(own.total, Tensor)
            return Loss(own.total + self.value_weight * off, {**own.parts, "value_error": off.detach()})

        return (Turn("main", loss, flow.trainable()),)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The policy's part of the objective."""
        if not isinstance(batch, Acts):
            return super().loss(model, batch, step)
        log_ratio = self.log_ratio(model, batch)
        gain = batch.advantage
        gain = (gain - gain.mean()) / (gain.std(correction=0) + 1e-8)
        ratio, gain = log_ratio.exp(), gain.reshape(-1, *[1] * (log_ratio.ndim - 1))
        within = ratio.clamp(1 - self.clip, 1 + self.clip)
        policy = -torch.minimum(ratio * gain, within * gain).mean()
        parts = {
            "policy": policy.detach(),
            "log_ratio": log_ratio.detach().abs().mean(),
            "clipped": (ratio != within).to(ratio.dtype).mean(),
        }
        return Loss(policy, parts)


class FPO(ClippedPolicy):
    r"""Flow policy optimisation (McAllister et al. 2507.21053): ratios from flow-matching losses.

    For every action a the pairs :math:`(\epsilon_i, t_i)` and the losses :math:`l_i` of the policy that took
    it are stored, and

    .. math:: \rho = \exp\Big(\tfrac1M \sum_i l_i^{old} - \tfrac1M \sum_i l_i\Big),\quad
              l_i = \tfrac1d \|\hat\epsilon(x_i, t_i) - \epsilon_i\|^2,\quad
              x_i = (1-t_i)\,\epsilon_i + t_i\,a .

    The network answers with a velocity and is judged by the noise that it implies. A loss bounds minus the
    log density, up to a constant, so that rho is a ratio of bounds and no likelihood ratio. Any solver may
    draw.

    Args:
        path: an affine one.
        times: of the stored pairs.
        pairs: M.
        mean_first: False gives every pair a ratio of its own, its difference cut to [-3, 3]; each is clipped
            by itself, and the mean is taken of what is descended, as in the authors' code.
        clip: epsilon.
        value_weight: see `ClippedPolicy`.
        predict: what the network answers with.
        compare_as: what losses are taken of.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        pairs: int = 8,
        mean_first: bool = True,
        clip: float = 0.05,
        value_weight: float = 0.25,
        predict: Quantity = "velocity",
        compare_as: Quantity = "noise",
    ) -> None:
        super().__init__(path, times, clip, value_weight, predict, compare_as)
        if pairs < 1:
            raise ValueError(f"pairs counts from 1, got {pairs}")
        self.pairs, self.mean_first = pairs, mean_first

    def remember(
        self, model: nn.Module, action: Tensor, cond: Cond, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Noise ``(n, M, *event)``, times and losses ``(n, M)``."""
        draw, n = Draw.like(action, generator), len(action)
        noise = draw.normal((n, self.pairs, *action.shape[1:]))
        time = self.times.sample(n * self.pairs, draw).reshape(n, self.pairs)
        return {"noise": noise, "time": time, "loss": self.losses(model, action, cond, noise, time)}

    def losses(self, model: nn.Module, action: Tensor, cond: Cond, noise: Tensor, time: Tensor) -> Tensor:
        """Flow-matching losses ``(n, M)`` of actions ``(n, *event)`` at stored noise and times."""
        count = time.shape[1]
        many = action.repeat_interleave(count, 0)
        told = {name: value.repeat_interleave(count, 0) for name, value in cond.items()}
        point = self.path.sample(noise.flatten(0, 1), many, time.flatten())
        said = model(point.x_t, point.t, **told)
        return self.rows(self.compare(said, point, told), point.t, None).reshape(time.shape)

    def log_ratio(self, model: nn.Module, batch: Acts) -> Tensor:
        """The drop of the losses at the stored pairs: ``(n,)``, or of each pair by itself, ``(n, M)``."""
        assert isinstance(batch.x1, Tensor)
        told = batch.told
        drop = told["loss"] - self.losses(model, batch.x1, batch.cond, told["noise"], told["time"])
        return drop.mean(1) if self.mean_first else drop.clamp(-3, 3)


class GaussianPPO(ClippedPolicy):
    """PPO of a Gaussian policy (``model: gaussian-policy``, ``solver: {use: euler, steps: 1}``).

    Args:
        path: see `FlowMatching`.
        clip: epsilon.
        value_weight: see `ClippedPolicy`.
    """

    def __init__(self, path: Path | None = None, clip: float = 0.2, value_weight: float = 0.25) -> None:
        super().__init__(path, None, clip, value_weight)

    def remember(
        self, model: nn.Module, action: Tensor, cond: Cond, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Log densities ``(n,)``."""
        return {"log_prob": self._log_prob(model, action, cond)}

    def log_ratio(self, model: nn.Module, batch: Acts) -> Tensor:
        """The difference of log densities."""
        assert isinstance(batch.x1, Tensor)
        return self._log_prob(model, batch.x1, batch.cond) - batch.told["log_prob"]

    @staticmethod
    def _log_prob(model: nn.Module, action: Tensor, cond: Cond) -> Tensor:
        if not isinstance(model, GaussianPolicy):
            raise IncompatibleError(
                f"gaussian-ppo needs a density, which {type(model).__name__} has not; use "
                "model: gaussian-policy, or objective: fpo"
            )
        return model.law(dict(cond), action).log_prob(action.flatten(1)).sum(1)
