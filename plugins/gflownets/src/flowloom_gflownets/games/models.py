"""Networks of two players."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowloom.models.sizes import require_sizes
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.games.objectives import game_of
from flowloom_gflownets.policy import PolicyMLP


class PlayerMLPs(nn.Module):
    """A `PolicyMLP` for each player.

    Args:
        environment: a game; injected from the recipe.
        width: hidden units.
        depth: hidden layers.
    """

    def __init__(self, environment: Environment, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.game, self.spec = game_of(environment), environment.spec
        self.players = nn.ModuleList(PolicyMLP(environment, width, depth) for _ in range(2))

    def forward(self, x: Tensor, t: Any = None, /, **cond: Tensor) -> Tensor:
        """What the player says whose move it is, ``(n, 2 actions)``."""
        first, second = (player(x) for player in self.players)
        return torch.where((self.game.side(x) == 0)[:, None], first, second)


class AZResNet(nn.Module):
    """The residual tower of AlphaZero without its norms, and a head for each player (2310.02779, appendix).

    Args:
        environment: a game; injected from the recipe.
        filters: of the tower.
        blocks: of two convolutions each.
        head: filters of the heads.
    """

    def __init__(self, environment: Environment, filters: int = 32, blocks: int = 3, head: int = 32) -> None:
        super().__init__()
        require_sizes(filters=filters, blocks=blocks, head=head)
        self.game, self.spec = game_of(environment), environment.spec
        self.stem = nn.Conv2d(3, filters, 3, padding=1)
        self.first, self.second = (
            nn.ModuleList(nn.Conv2d(filters, filters, 3, padding=1) for _ in range(blocks)) for _ in "ab"
        )
        self.narrow = nn.ModuleList(nn.Conv2d(filters, head, 1) for _ in range(2))
        self.moves = nn.ModuleList(nn.Linear(head * self.game.cells, self.game.stop) for _ in range(2))

    def forward(self, x: Tensor, t: Any = None, /, **cond: Tensor) -> Tensor:
        """Logits of the player whose move it is, as a policy has them ``(n, 2 actions)``; the rest is 0."""
        act = nn.functional.leaky_relu
        planes = self.game.features(x).reshape(-1, 3, self.game.rows, self.game.columns)
        hidden = act(self.stem(planes.to(self.stem.weight)))
        for first, second in zip(self.first, self.second, strict=True):
            hidden = act(hidden + second(act(first(hidden))))
        logits = [
            moves(act(narrow(hidden)).flatten(1))
            for narrow, moves in zip(self.narrow, self.moves, strict=True)
        ]
        own = torch.where((self.game.side(x) == 0)[:, None], logits[0], logits[1])
        return nn.functional.pad(own, (0, self.game.actions + 1))
