"""Balances of two players."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom.paths import Path
from flowloom.state import Cond, State
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.environment import Environment, log_softmax
from flowloom_gflownets.games.line import LineGame
from flowloom_gflownets.objectives import TrajectoryBalance
from flowloom_gflownets.policy import PolicyField
from flowloom_gflownets.trajectories import Trajectories, joined, retraced, roll_out


class AdversarialBalance(TrajectoryBalance):
    r"""One balance for both players of a game (Jiralerspong et al., 2310.02779, section 4).

    .. math:: \log Z + \sum_{t \in T_1} (\log P_1(a_t|s_t) + \log n_t)
              - \sum_{t \in T_2} (\log P_2(a_t|s_t) + \log n_t) - \log R_1(x)

    :math:`n_t` is the number of legal moves: either player's policy is the environment of the other, and
    flows are means over it. There is no backward policy, as a game says its own walk.

    Args:
        environment: a game; injected from the recipe.
        path: injected from the recipe.
        epsilon: share of random moves in own walks.
        log_partition: log Z at the start.
        replayed: learn from the games of the batch (``feed: self-play``) and not from new ones.
    """

    def __init__(
        self,
        environment: Environment,
        path: Path,
        epsilon: float = 0.0,
        log_partition: float = 0.0,
        replayed: bool = False,
    ) -> None:
        super().__init__(environment, path, "uniform", epsilon, log_partition)
        self.game, self.replayed = game_of(environment), replayed

    def walks(self, model: nn.Module, batch: Batch, step: Step) -> Trajectories:
        """The games of the batch, or new ones.

        Raises:
            IncompatibleError: games of the batch are not over: the feed plays none.
        """
        if not self.replayed:
            return super().walks(model, batch, step)
        assert isinstance(batch.x1, Tensor)
        if not bool(self.game.allowed(batch.x1)[:, self.game.stop].all()):
            raise IncompatibleError(
                "adversarial-balance with replayed: true learns from games that are over, and this feed has "
                "none; use feed: self-play, or replayed: false"
            )
        return retraced(self.game, batch.x1, generator=step.generator)

    def gains(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """``log P + log n`` of the first player's moves, and its negative of the second's."""
        count = self.game.allowed(walks.x).sum(-1)
        gain = self.log_forward(self.said(model, walks), walks) + count.log()
        return torch.where(self.game.side(walks.x) == 0, gain, -gain)


class UniformOpponent(Balance):
    """Trajectory balance of each player against one who moves at random and counts as part of the graph.

    What adversarial balances are compared with: half of the walks are the first player's, half the
    second's, with a log Z each.

    Args:
        environment: a game; injected from the recipe.
        path: injected from the recipe.
        epsilon: share of random moves.
    """

    def __init__(self, environment: Environment, path: Path, epsilon: float = 0.0) -> None:
        super().__init__(environment, path, "uniform", epsilon)
        self.game = game_of(environment)
        self.log_partition = nn.Parameter(torch.zeros(2))

    def walks(self, model: nn.Module, batch: Batch, step: Step) -> Trajectories:
        """Games of either player: the first half, and the rest."""
        root = self.start(batch)
        half = len(root) // 2
        fields = (Against(model, self.game, self.path, player) for player in (0, 1))
        return joined(
            [
                roll_out(field, part, epsilon=self.epsilon, generator=step.generator)
                for field, part in zip(fields, (root[:half], root[half:]), strict=True)
            ]
        )

    def residuals(self, model: nn.Module, walks: Trajectories) -> Tensor:
        """One for every game."""
        player = (torch.arange(len(walks.ends), device=walks.x.device) >= len(walks.ends) // 2).long()
        own = self.game.side(walks.x) == player[walks.walk]
        random = -self.game.allowed(walks.x).sum(-1).log()
        gain = torch.where(own, self.log_forward(self.said(model, walks), walks), random)
        sums = gain.new_zeros(len(player)).index_add(0, walks.walk, gain)
        reward = self.log_reward(walks.ends)
        return self.log_partition[player] + sums - torch.where(player == 0, reward, -reward)

    def log_z(self, model: nn.Module) -> Tensor:
        """The first player's."""
        return self.log_partition[0]


class Against(PolicyField):
    """A policy that plays one side, against random moves.

    Args:
        model: the network.
        game: what is played.
        path: whose geometry the states lie on.
        player: the side it plays.
    """

    def __init__(self, model: nn.Module, game: LineGame, path: Path, player: int) -> None:
        super().__init__(model, game, path.geometry)
        self.game, self.player = game, player

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """``log P`` on its own moves, uniform on the other's."""
        assert isinstance(x, Tensor)
        own, allowed = super().__call__(x, t, cond), self.game.allowed(x)
        assert isinstance(own, Tensor)
        random = log_softmax(torch.zeros(allowed.shape, device=x.device), allowed)
        return torch.where((self.game.side(x) == self.player)[:, None], own, random)


def game_of(environment: object) -> LineGame:
    """The environment, if two play in it.

    Raises:
        IncompatibleError: one walks alone.
    """
    if not isinstance(environment, LineGame):
        raise IncompatibleError(
            f"two players share a balance, and {type(environment).__name__} is no game; "
            "use environment line-game"
        )
    return environment
