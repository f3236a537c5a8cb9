"""Trajectory balance, and the two losses that came before it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.paths import Path
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.environment import Environment, TokenEnvironment
from flowloom_gflownets.policy import read
from flowloom_gflownets.trajectories import Trajectories


class TrajectoryBalance(Balance):
    r"""One residual for a whole walk :math:`s_0 \to \dots \to s_n = x` (Malkin et al., 2201.13259, eq. 14).

    .. math:: \log Z + \sum_t \log P_F(s_{t+1}|s_t) - \log R(x) - \sum_t \log P_B(s_t|s_{t+1})

    log Z is a parameter, ``objective.log_partition``, and wants a far larger learning rate than the network:
    ``train: {rates: {objective.log_partition: 100}}``.

    Args:
        environment: injected from the recipe.
        path: injected from the recipe.
        backward: ``uniform`` or ``learned``.
        epsilon: share of uniform exploration.
        log_partition: log Z at the start.
    """

    def __init__(
        self,
        environment: Environment,
        path: Path,
        backward: Literal["uniform", "learned"] = "uniform",
        epsilon: float = 0.0,
        log_partition: float = 0.0,
    ) -> None:
        super().__init__(environment, path, backward, epsilon)
        self.log_partition = nn.Parameter(torch.tensor(float(log_partition)))

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """One for every walk."""
        return self.log_partition - self.log_weights(model, walks)

    def log_z(self, model: nn.Module) -> Tensor:
        """The parameter."""
        return self.log_partition


class DetailedBalance(Balance):
    r"""One residual for every transition (Bengio et al., 2111.09266).

    .. math:: \log F(s) + \log P_F(s'|s) - \log F(s') - \log P_B(s|s')

    with R(x) in place of F(s') and no P_B where a walk stops.
    """

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """One for every transition."""
        before, after = self.said(model, walks), self.said_after(model, walks)
        stops = walks.action == self.environment.stop
        flow = self.log_flow(after, walks.after, walks.number + 1)
        ahead = torch.where(stops, self.log_reward(walks.after), flow)
        gain = self.log_forward(before, walks) - self.log_backward(after, walks)
        return self.log_flow(before, walks.x, walks.number) + gain - ahead

    def log_z(self, model: nn.Module) -> Tensor:
        """The flow through the root."""
        return self.root_flow(model)


class GFNFlowMatching(Balance):
    r"""One residual for every state: what flows in flows out (Bengio et al., 2106.04399, equation 12).

    .. math:: \log \sum_{s'' \to s} F(s'' \to s) - \log \sum_{s \to s'} F(s \to s'), \qquad
              \log F(x \to \mathrm{stop}) - \log R(x)

    The logits of the policy are the logs of the edge flows. There is no backward policy. (This is not the
    flow matching of velocity fields.)

    Args:
        environment: injected from the recipe.
        path: injected from the recipe.
        epsilon: share of uniform exploration.
    """

    def __init__(self, environment: Environment, path: Path, epsilon: float = 0.0) -> None:
        if not isinstance(environment, TokenEnvironment):
            raise IncompatibleError(
                "gfn-flow-matching sums over the parents of a state, and those of "
                f"{type(environment).__name__} are a continuum; use trajectory-balance or detailed-balance"
            )
        super().__init__(environment, path, "uniform", epsilon)
        self.tokens = environment

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """One for every state visited after the root, and one for every object."""
        environment = self.tokens
        last = walks.action == environment.stop
        outgoing, ends = self._out(model, walks.x), walks.ends
        moved = environment.parents(walks.x).any(-1)
        inner = self._in(model, walks.x[moved]) - outgoing.logsumexp(-1)[moved]
        order = walks.walk[last].argsort()
        terminal = outgoing[last, environment.stop][order] - self.log_reward(ends)
        return torch.cat([inner, terminal])

    def log_z(self, model: nn.Module) -> Tensor:
        """All that flows out of the root."""
        device = next(model.parameters()).device
        return self._out(model, self.tokens.root(1, device)).logsumexp(-1)[0]

    def _out(self, model: nn.Module, x: Tensor) -> Tensor:
        """Log flows of the edges that leave states, ``(n, actions)``, -inf where there is none."""
        number = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        logits = read(self.tokens, model, x, number).forward
        return logits.masked_fill(~self.tokens.allowed(x), -torch.inf)

    def _in(self, model: nn.Module, x: Tensor) -> Tensor:
        """Log of the sum of the flows of the edges that enter states, ``(n,)``."""
        row, action = self.tokens.parents(x).nonzero(as_tuple=True)
        parents = self.tokens.back(x[row], action)
        edges = self._out(model, parents).gather(1, action[:, None])[:, 0]
        flows = edges.new_full((len(x), self.tokens.stop), -torch.inf).index_put((row, action), edges)
        return flows.logsumexp(-1)
