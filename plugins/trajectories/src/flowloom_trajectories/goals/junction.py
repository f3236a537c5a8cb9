"""A junction with three exits, one of them blocked."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["EXITS", "Junction", "bezier"]

EXITS = torch.tensor([[-12.0, 12.0], [0.0, 18.0], [12.0, 12.0]])
"""Middle of the exits to the left, ahead and to the right, in metres before the vehicle."""
TURN = torch.tensor([0.0, 9.0])
ROAD = 2.5


def bezier(ends: Tensor, waypoints: int) -> Tensor:
    """Quadratic ways ``(n, waypoints, 2)`` from 0 to ``ends`` ``(n, 2)`` by the middle of the junction."""
    s = torch.linspace(0, 1, waypoints + 1)[1:, None].to(ends)
    return 2 * s * (1 - s) * TURN.to(ends) + s.square() * ends[:, None]


class Junction(Drawn):
    """A vehicle comes to a junction of which ``scene`` tells the exits that are open, and takes one of them.

    Two of three exits are open, and each is taken as often. Ways are quadratic, ``(waypoints, 2)`` in metres
    before the vehicle; their end, the condition ``goal``, lies about the middle of its exit with deviation
    ``spread``, and waypoints are off by ``noise``.

    Args:
        n: examples in every split.
        seed: of the draws.
        waypoints: of a way.
        goals: False leaves the condition ``goal`` out.
        spread: metres.
        noise: metres.
    """

    def __init__(
        self,
        n: int = 5000,
        seed: int = 0,
        waypoints: int = 8,
        goals: bool = True,
        spread: float = 0.8,
        noise: float = 0.1,
    ) -> None:
        super().__init__(n, seed)
        if waypoints < 2 or spread <= 0 or noise < 0:
            raise DataError(
                f"waypoints from 2, spread positive, noise not negative; got {waypoints}, {spread}, {noise}"
            )
        self.waypoints, self.goals, self.spread, self.noise = waypoints, goals, spread, noise

    @property
    def spec(self) -> Spec:
        """Ways, the exits that are open, and the goal."""
        conditions = {"scene": Condition(shape=(3,))}
        if self.goals:
            conditions["goal"] = Condition(shape=(2,))
        return Spec((self.waypoints, 2), conditions=conditions)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Ways through the junction."""
        closed = torch.randint(3, (n,), generator=generator)
        which = (closed + 1 + torch.randint(2, (n,), generator=generator)) % 3
        scene = torch.ones(n, 3)
        scene[torch.arange(n), closed] = 0
        ends = EXITS[which] + self.spread * torch.randn(n, 2, generator=generator)
        way = bezier(ends, self.waypoints)
        way = way + self.noise * torch.randn(way.shape, generator=generator)
        return Examples(way, {"scene": scene} | ({"goal": way[:, -1]} if self.goals else {}))

    def drivable(self, points: Tensor, scene: Tensor) -> Tensor:
        """Whether a vehicle at ``points`` ``(N, 2)`` stands in an open exit: boolean ``(n, N)``."""
        near = torch.cdist(points, EXITS.to(points)) < ROAD
        return (near[None] & (scene[:, None] > 0)).any(-1)
