"""Small games solved by minimax, and policies judged by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.games.line import LineGame
from flowloom_gflownets.policy import PolicyField

MOST = 200_000
"""Positions after a number of moves beyond which a game is not solved."""


@dataclass(frozen=True)
class Level:
    """All positions after a number of moves, each board once.

    Args:
        x: a game that leads to each, ``(n, cells)``.
        children: places of the positions after each move in the next level, ``(n, moves)``, -1 where illegal.
        value: 1, 0 or -1 for the first player under perfect play, ``(n,)``.
        optimal: moves that keep it, boolean ``(n, moves)``.
    """

    x: Tensor
    children: Tensor
    value: Tensor
    optimal: Tensor


@lru_cache(maxsize=4)
def solved(rows: int, columns: int, line: int, falls: bool) -> tuple[Level, ...]:
    """Every level of a game, from the empty board.

    Raises:
        IncompatibleError: there are too many positions.
    """
    game = LineGame(rows, columns, line, falls)
    found = [game.root(1)]
    places = []
    while True:
        x = found[-1]
        row, move = game.allowed(x)[:, :-1].nonzero(as_tuple=True)
        table = torch.full((len(x), game.stop), -1)
        places.append(table)
        if not len(row):
            break
        after = game.step(x[row], move)
        board = game.board(after).long()
        key = ((board[:, 0] + 2 * board[:, 1]) * 3 ** torch.arange(game.cells)).sum(1)
        keys, which = key.unique(return_inverse=True)
        if len(keys) > MOST:
            raise IncompatibleError(f"a board of {rows} x {columns} has too many positions to be solved")
        table[row, move] = which
        first = torch.full((len(keys),), len(key)).scatter_reduce(0, which, torch.arange(len(key)), "amin")
        found.append(after[first])
    levels: list[Level] = []
    for x, children in zip(reversed(found), reversed(places), strict=True):
        sign = 1 - 2 * game.side(x)[:, None]
        legal = children >= 0
        ahead = levels[-1].value[children.clamp_min(0)] if levels else torch.zeros_like(children)
        ahead = torch.where(legal, ahead * sign, -2)
        best = ahead.amax(1, keepdim=True)
        value = torch.where(legal.any(1), best[:, 0] * sign[:, 0], game.outcome(x))
        levels.append(Level(x, children, value, legal & (ahead == best)))
    return tuple(reversed(levels))


class OptimalMoves(Score):
    r"""How well a policy plays a game that is solved by minimax.

    ``optimal`` is the share of positions, of those in which moves differ in value, where the move it likes
    best is optimal, ``suboptimal`` the rest. ``loses_second`` is the probability with which it loses as the
    second player against random moves, by its own probabilities, and exactly: no games are drawn.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "optimal": "higher",
        "suboptimal": "lower",
        "loses_second": "lower",
        "loses_first": "lower",
    }

    def require(self, flow: Flow) -> None:
        """Ask for a policy in a game that can be solved."""
        if not isinstance(flow.objective, Balance) or not isinstance(flow.objective.environment, LineGame):
            raise IncompatibleError("score optimal-moves needs a game: environment line-game")
        game = flow.objective.environment
        if game.cells > 16:
            raise IncompatibleError(
                f"score optimal-moves solves boards of at most 16 cells, and this one has {game.cells}"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """All four; the examples are counted, and not looked at.

        Raises:
            ShapeError: there are none.
        """
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score optimal-moves: there is no sample to score")
        assert isinstance(flow.objective, Balance)
        game, field = flow.objective.environment, flow.field()
        assert isinstance(game, LineGame)
        assert isinstance(field, PolicyField)
        levels = solved(game.rows, game.columns, int(game.lines.shape[1]), game.falls)
        with flow.evaluating():
            laws = [_law(field, level.x, flow.device) for level in levels]
        good, asked = 0, 0
        for level, law in zip(levels, laws, strict=True):
            matters = (level.children >= 0).any(1) & (level.optimal != (level.children >= 0)).any(1)
            best = law.argmax(1, keepdim=True)
            good += int(level.optimal.gather(1, best)[:, 0][matters].sum())
            asked += int(matters.sum())
        lost = [_loses(game, levels, laws, player) for player in (0, 1)]
        rate = good / asked
        return {"optimal": rate, "suboptimal": 1 - rate, "loses_second": lost[1], "loses_first": lost[0]}


def _law(field: PolicyField, x: Tensor, device: torch.device) -> Tensor:
    value = field(x.to(device), None, {})
    assert isinstance(value, Tensor)
    return value[:, :-1].double().exp().cpu()


def _loses(game: LineGame, levels: tuple[Level, ...], laws: list[Tensor], player: int) -> float:
    """Probability that ``player`` loses by its own law against random moves."""
    mass, lost = torch.ones(1, dtype=torch.float64), 0.0
    for level, law in zip(levels, laws, strict=True):
        legal = level.children >= 0
        over = ~legal.any(1)
        lost += float(mass[over & (game.outcome(level.x) == 2 * player - 1)].sum())
        random = legal / legal.sum(1, keepdim=True).clamp_min(1)
        own = (game.side(level.x) == player)[:, None]
        flows = mass[:, None] * torch.where(own, law * legal, random.double())
        size = int(level.children.max()) + 1
        mass = torch.zeros(max(size, 0), dtype=torch.float64)
        mass = mass.index_add(0, level.children[legal], flows[legal]) if size > 0 else mass
    return lost
