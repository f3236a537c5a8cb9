"""The path integral sampler: the reverse KL of walks, through their simulation."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.objectives import Batch, Step
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.continuous.brownian import Brownian
from flowloom_gflownets.trajectories import Trajectories, walked


class ReverseKL(Balance):
    r"""What a walk loses on the bound of log Z, differentiated through it (Zhang and Chen, 2111.15141).

    .. math:: \mathrm{KL}(P_F \| P_B R / Z) - \log Z = E_{P_F} \sum_t (\log p_F - \log p_B) - \log R(x)

    The signal is terminal alone, and on-policy. It is the same figure that trajectory balance squares.
    """

    def walks(self, model: nn.Module, batch: Batch, step: Step) -> Trajectories:
        """The policy's own walks, under gradient."""
        root = self.start(batch)
        return walked(self.policy(model), root, epsilon=0.0, generator=step.generator)

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """Minus the log weight of every walk: its mean is minus the evidence bound."""
        return -self.log_weights(model, walks)

    def penalty(self, model: nn.Module, walks: Trajectories, step: Step) -> Tensor:
        """Their mean, not their square."""
        return self.residuals(model, walks).mean()

    def log_z(self, model: nn.Module) -> Tensor | None:
        """Nothing: it learns no partition function."""
        return None

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Environments whose steps are not differentiable in what the network says."""
        if not isinstance(self.environment, Brownian):
            yield Clash(
                "objective",
                "environment",
                "reverse-kl differentiates through the walk, and "
                f"{type(self.environment).__name__} draws its moves; use environment brownian",
            )
