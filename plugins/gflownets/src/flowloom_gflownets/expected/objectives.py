"""Expected detailed balance, and a balance that does not see chance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom_gflownets.environment import Chance, TokenEnvironment
from flowloom_gflownets.objectives import DetailedBalance, TrajectoryBalance
from flowloom_gflownets.policy import read
from flowloom_gflownets.trajectories import Trajectories


class ExpectedDetailedBalance(DetailedBalance):
    r"""Detailed balance where chance moves too (Jiralerspong et al., 2310.02779, section 3).

    .. math:: \log F(s) + \log P_F(s'|s) - \log F(s') - \log P_B(s|s') \quad \text{where the policy moves}, \\
              \log F(s) - \log \sum_{s'} P_\mathrm{env}(s'|s) F(s') \quad \text{where chance does}

    F(x) is R(x) where nothing but stopping is left. All residuals vanish where the policy chooses in
    proportion to the expected reward behind every choice. The law of chance is known.
    """

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """One for every state visited in which something is left to happen."""
        tokens = chanced(self.environment)
        walks = walks.of(self._open(tokens, walks.x))
        before = self._flow(tokens, model, walks.x)
        stops = walks.action == tokens.stop
        after = torch.where(stops, self.log_reward(walks.after), self._flow(tokens, model, walks.after))
        policy = before + self.gains(model, walks) - after
        chance = tokens.chance(walks.x)
        if chance is None:
            return policy
        expected = self._expected(tokens, model, walks.x[chance.moves], chance)
        return policy.index_put((chance.moves.nonzero()[:, 0],), before[chance.moves] - expected)

    def _expected(self, tokens: TokenEnvironment, model: nn.Module, x: Tensor, chance: Chance) -> Tensor:
        """Log of the expected flow after a move of chance, ``(m,)``."""
        row, action = tokens.allowed(x).nonzero(as_tuple=True)
        flow = self._flow(tokens, model, tokens.step(x[row], action))
        ahead = flow.new_full((len(x), tokens.actions), -torch.inf).index_put((row, action), flow)
        return (chance.log_law[chance.moves] + ahead).logsumexp(-1)

    def _flow(self, tokens: TokenEnvironment, model: nn.Module, x: Tensor) -> Tensor:
        """``log F``, R where the object is finished; no time is part of a token's state."""
        number = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        flow = self.log_flow(read(tokens, model, x, number), x, number)
        return torch.where(self._open(tokens, x), flow, self.log_reward(x))

    @staticmethod
    def _open(tokens: TokenEnvironment, x: Tensor) -> Tensor:
        return tokens.allowed(x)[:, :-1].any(1)


class ChanceBlind(TrajectoryBalance):
    """Trajectory balance that leaves the moves of chance out, as if they were no part of the walk.

    No policy satisfies it where outcomes matter; it is what expected flows are compared with.
    """

    def gains(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """Of the policy's own moves alone."""
        chance = chanced(self.environment).chance(walks.x)
        gain = super().gains(model, walks)
        return gain if chance is None else torch.where(chance.moves, 0.0, gain)


def chanced(environment: object) -> TokenEnvironment:
    """The environment, if it has tokens.

    Raises:
        IncompatibleError: it has not.
    """
    if not isinstance(environment, TokenEnvironment):
        raise IncompatibleError(
            f"expected flows sum over outcomes, and those of {type(environment).__name__} are a continuum; "
            "use environment chance-tree"
        )
    return environment
