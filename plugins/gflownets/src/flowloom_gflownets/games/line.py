"""Games in which a line of own stones wins: tic-tac-toe, Connect Four and everything between."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_gflownets.environment import TokenEnvironment


class LineGame(TokenEnvironment):
    r"""Two players put stones on a board in turn; the first with ``line`` in a row wins.

    A state is the moves so far, ``(n, rows * columns)``, from 1, 0 for not yet: the graph is a tree, and a
    game says its own walk. Moves are cells, or columns where stones fall. ``log R`` is that of the first
    player, :math:`+\lambda`, 0 or :math:`-\lambda` for a win, a draw or a loss; the second one's is its
    negative.

    Args:
        rows: of the board.
        columns: of the board.
        line: stones in a row that win: across, down and along both diagonals.
        falls: whether stones fall to the lowest free cell of their column.
        stake: lambda; the larger, the closer to perfect play.
    """

    def __init__(
        self, rows: int = 3, columns: int = 3, line: int = 3, falls: bool = False, stake: float = 10.0
    ) -> None:
        if min(rows, columns) < 1 or not 2 <= line <= max(rows, columns) or not stake > 0:
            raise ValueError(
                "a board has rows and columns from 1, a line that fits and a stake above 0, got "
                f"{rows} x {columns}, {line} and {stake}"
            )
        self.rows, self.columns, self.falls, self.stake = rows, columns, falls, stake
        self.cells = rows * columns
        moves = columns if falls else self.cells
        self.actions, self.spec = moves + 1, Spec((self.cells,), vocab=moves + 1)
        self.lines = _lines(rows, columns, line)

    def root(self, n: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Tensor:
        """The empty board."""
        return torch.zeros(n, self.cells, dtype=torch.int64, device=device)

    def board(self, x: Tensor) -> Tensor:
        """Stones of either player, boolean ``(n, 2, rows * columns)``, the lowest row first."""
        played, move = x > 0, (x - 1).clamp_min(0)
        if self.falls:
            column = one_hot(move, self.columns) * played[..., None]
            below = (column.cumsum(1) - column).gather(2, move[..., None])[..., 0]
            move = torch.where(played, below * self.columns + move, 0)
        stones = one_hot(move, self.cells).bool() & played[..., None]
        return torch.stack([stones[:, 0::2].any(1), stones[:, 1::2].any(1)], 1)

    def side(self, x: Tensor) -> Tensor:
        """Whose move it is, 0 or 1."""
        return (x > 0).sum(1) % 2

    def outcome(self, x: Tensor) -> Tensor:
        """1 where the first player has a line, -1 where the second has, 0 otherwise."""
        won = self.board(x)[:, :, self.lines.to(x.device)].all(-1).any(-1).long()
        return won[:, 0] - won[:, 1]

    def allowed(self, x: Tensor) -> Tensor:
        """Free cells, or columns with room, until the game is over; then only stopping."""
        over = ((self.outcome(x) != 0) | (x > 0).all(1))[:, None]
        stones = self.board(x).any(1)
        free = ~(stones.reshape(-1, self.rows, self.columns)[:, -1] if self.falls else stones)
        return torch.cat([free & ~over, over], 1)

    def parents(self, x: Tensor) -> Tensor:
        """The last move."""
        last = x.gather(1, ((x > 0).sum(1, keepdim=True) - 1).clamp_min(0))[:, 0]
        return one_hot(last, self.actions)[:, 1:] > 0

    def step(self, x: Tensor, action: Tensor) -> Tensor:
        """One more move."""
        moves = (action < self.stop)[:, None]
        place = one_hot((x > 0).sum(1).clamp_max(self.cells - 1), self.cells)
        return torch.where(moves, x + place * (action + 1)[:, None], x)

    def back(self, x: Tensor, action: Tensor) -> Tensor:
        """One move less."""
        return x * (torch.arange(self.cells, device=x.device) < (x > 0).sum(1, keepdim=True) - 1)

    def features(self, x: Tensor) -> Tensor:
        """Three planes, flat: stones of the first player, of the second, and whose move it is."""
        side = self.side(x)[:, None, None].expand(-1, 1, self.cells)
        return torch.cat([self.board(x), side.bool()], 1).flatten(1).float()

    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """Minus the first player's log R."""
        return -self.stake * self.outcome(x).float()


def _lines(rows: int, columns: int, line: int) -> Tensor:
    """Cells of every line, ``(lines, line)``."""
    found = []
    for row in range(rows):
        for column in range(columns):
            for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
                last_row, last_column = row + down * (line - 1), column + across * (line - 1)
                if last_row < rows and 0 <= last_column < columns:
                    found.append([(row + down * k) * columns + column + across * k for k in range(line)])
    return torch.tensor(found, device="cpu")
