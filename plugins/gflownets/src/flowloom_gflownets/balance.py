"""What all losses of GFlowNets share: walks of the policy itself, and squared residuals of a balance."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.fields import Field, Kind
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import batch_size, first_leaf
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.policy import KIND, PolicyField, Said, log_softmax
from flowloom_gflownets.trajectories import Trajectories, roll_out


class Balance(Objective):
    """Trains a policy on walks that it takes itself; a batch gives their number, and no data.

    Walks are drawn without gradient from the policy mixed with ``epsilon`` of uniform moves. The residuals
    vanish together exactly where the policy samples in proportion to the reward, whatever law the walks are
    from, as long as it reaches every state.

    Args:
        environment: what is built; injected from the recipe.
        path: of the recipe, whose geometry the states lie on; there are no times.
        backward: ``uniform`` over parents, or a ``learned`` backward policy.
        epsilon: exploration, see `roll_out`.
    """

    def __init__(
        self,
        environment: Environment,
        path: Path,
        backward: Literal["uniform", "learned"] = "uniform",
        epsilon: float = 0.0,
    ) -> None:
        super().__init__()
        if backward not in ("uniform", "learned"):
            raise ValueError(f"backward is uniform or learned, got {backward!r}")
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is a share in [0, 1], got {epsilon}")
        self.environment, self.path = environment, path
        self.learned, self.epsilon = backward == "learned", epsilon

    @abstractmethod
    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """What ought to be 0, in nats: one for every walk, transition or state."""

    @abstractmethod
    def log_z(self, model: nn.Module) -> Tensor:
        """What the trained model says of ``log sum_x R(x)``, a scalar."""

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The mean squared residual of as many walks as the batch has rows."""
        device = first_leaf(batch.x0).device
        root = self.environment.root(batch_size(batch.x0), device)
        walks = roll_out(self._policy(model), root, epsilon=self.epsilon, generator=step.generator)
        with torch.no_grad():
            log_z, length = self.log_z(model).detach(), walks.walk.bincount().float().mean()
        return Loss(self.residuals(model, walks).square().mean(), {"log_z": log_z, "length": length})

    def log_forward(self, said: Said, walks: Trajectories) -> Tensor:
        """``log P_F`` of every transition, ``(k,)``."""
        law = log_softmax(said.forward, self.environment.allowed(walks.x))
        return law.gather(1, walks.action[:, None])[:, 0]

    def log_backward(self, after: Said, walks: Trajectories) -> Tensor:
        """``log P_B`` of every transition, ``(k,)``; 0 where a walk stops: an object has one last state."""
        parents, moves = self.environment.parents(walks.after), walks.action != self.environment.stop
        # Without parents there is only the root itself, stopped at.
        parents = parents | ~moves[:, None]
        logits = after.backward if self.learned else torch.zeros_like(after.backward)
        action = walks.action.clamp_max(self.environment.stop - 1)
        chosen = log_softmax(logits, parents).gather(1, action[:, None])[:, 0]
        return torch.where(moves, chosen, 0.0)

    def log_reward(self, x: Tensor) -> Tensor:
        """``log R`` of finished objects, ``(n,)``."""
        return -self.environment.energy(x, {})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The forward policy."""
        return self._policy(model)

    def _policy(self, model: nn.Module) -> PolicyField:
        field = PolicyField(model, self.environment, self.path.geometry)
        field.path = self.path
        return field

    @property
    def kind(self) -> Kind:
        """A kind of its own."""
        return KIND
