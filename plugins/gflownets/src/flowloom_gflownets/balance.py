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
from flowloom.state import batch_size, first_leaf, float_dtype
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.policy import KIND, PolicyField, Said, read
from flowloom_gflownets.trajectories import Trajectories, roll_out


class Balance(Objective):
    """Trains a policy on walks that it takes itself; a batch gives their number, and no data.

    Walks are drawn without gradient from the policy mixed with ``epsilon`` of uniform moves. The residuals
    vanish together exactly where the policy samples in proportion to the reward, whatever law the walks are
    from, as long as it reaches every state.

    Args:
        environment: what is built; injected from the recipe.
        path: of the recipe, whose geometry the states lie on; there are no times.
        backward: ``uniform`` over parents (where states are a continuum, the environment's own kernel), or a
            ``learned`` backward policy.
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
    def log_z(self, model: nn.Module) -> Tensor | None:
        """What the trained model says of ``log sum_x R(x)``, a scalar; None where it says nothing."""

    def penalty(self, model: nn.Module, walks: Trajectories, step: Step) -> Tensor:
        """What is descended: the mean squared residual."""
        return self.residuals(model, walks).square().mean()

    def walks(self, model: nn.Module, batch: Batch, step: Step) -> Trajectories:
        """The walks of a step: the policy's own, as many as the batch has rows."""
        return roll_out(self.policy(model), self.start(batch), epsilon=self.epsilon, generator=step.generator)

    def start(self, batch: Batch) -> Tensor:
        """The root, once for every row."""
        x0 = first_leaf(batch.x0)
        return self.environment.root(batch_size(batch.x0), x0.device, float_dtype(x0))

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The penalty of as many walks as the batch has rows."""
        walks = self.walks(model, batch, step)
        with torch.no_grad():
            log_z, length = self.log_z(model), walks.walk.bincount().float().mean()
        told = {"length": length} if log_z is None else {"log_z": log_z.detach(), "length": length}
        return Loss(self.penalty(model, walks, step), told)

    def said(self, model: nn.Module, walks: Trajectories) -> Said:
        """What the network says of the states before every transition."""
        return read(self.environment, model, walks.x, walks.number)

    def said_after(self, model: nn.Module, walks: Trajectories) -> Said:
        """And of those after it."""
        return read(self.environment, model, walks.after, walks.number + 1)

    def log_forward(self, said: Said, walks: Trajectories) -> Tensor:
        """``log p_F`` of every transition, ``(k,)``."""
        return self.environment.log_forward(said.forward, walks)

    def log_backward(self, after: Said | None, walks: Trajectories) -> Tensor:
        """``log p_B`` of every transition, ``(k,)``: of the kernel in ``after`` where it is learned."""
        own = after.backward if self.learned and after is not None else None
        return self.environment.log_backward(own, walks)

    def gains(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """``log p_F - log p_B`` of every transition, ``(k,)``."""
        after = self.said_after(model, walks) if self.learned else None
        return self.log_forward(self.said(model, walks), walks) - self.log_backward(after, walks)

    def log_weights(self, model: nn.Module, walks: Trajectories) -> Tensor:
        r"""``log R + sum log p_B - log p_F`` of every walk, ``(walks,)``.

        Its exponential is, in the mean over walks of the policy, Z, and its mean a bound on log Z.
        """
        gain = self.gains(model, walks)
        sums = gain.new_zeros(len(walks.ends)).index_add(0, walks.walk, gain)
        return self.log_reward(walks.ends) - sums

    def log_flow(self, said: Said, x: Tensor, number: Tensor) -> Tensor:
        """Log of the flow through states, ``(n,)``: what is said, over what the environment guesses."""
        return said.log_flow + self.environment.guess(x, number)

    def root_flow(self, model: nn.Module) -> Tensor:
        """Log of the flow through the root, a scalar."""
        parameter = next(model.parameters())
        root = self.environment.root(1, parameter.device, parameter.dtype)
        number = torch.zeros(1, dtype=torch.int64, device=parameter.device)
        return self.log_flow(read(self.environment, model, root, number), root, number)[0]

    def log_reward(self, x: Tensor) -> Tensor:
        """``log R`` of finished objects, ``(n,)``."""
        return -self.environment.energy(x, {})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The forward policy."""
        return self.policy(model)

    def policy(self, model: nn.Module) -> PolicyField:
        """The forward policy, as what walks it takes it."""
        field = PolicyField(model, self.environment, self.path.geometry)
        field.path = self.path
        return field

    @property
    def kind(self) -> Kind:
        """A kind of its own."""
        return KIND
