"""A crowd that crosses: people who keep out of each other's way."""

from __future__ import annotations

import math

import torch

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["Crowd"]

_STEP, _INNER = 0.4, 8
"""Seconds between two sightings, and steps of the simulation between them."""


class Crowd(Drawn):
    r"""People on a circle of 5 m walk to the other side by the social force model (Helbing and Molnár 1995).

    Each is drawn towards its goal at 1.3 m/s within 0.5 s, and pushed from every other by
    :math:`2.1\,e^{-(d - 0.6) / 0.3}` m/s². The first of a scene is to be foretold; the others are told as
    neighbours, nearest first, in the form of `Pedestrians`.

    Args:
        n: scenes in every split.
        seed: of the draws.
        neighbours: others in a scene.
        observed: steps of 0.4 s that are seen.
        predicted: steps to come.
    """

    def __init__(
        self, n: int = 5000, seed: int = 0, neighbours: int = 4, observed: int = 8, predicted: int = 12
    ) -> None:
        if neighbours < 1 or observed < 2 or predicted < 1:
            raise DataError(
                "neighbours and predicted are at least 1 and observed at least 2, got "
                f"{neighbours}, {predicted} and {observed}"
            )
        super().__init__(n, seed)
        self.neighbours, self.observed, self.predicted = neighbours, observed, predicted

    @property
    def spec(self) -> Spec:
        """Futures with past and neighbours."""
        told = {
            "past": Condition(shape=(self.observed, 2)),
            "neighbours": Condition(shape=(self.neighbours, self.observed, 3)),
            "ahead": Condition(shape=(self.neighbours, self.predicted, 3), role="judged"),
        }
        return Spec((self.predicted, 2), conditions=told)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Walks of whole scenes."""
        people, length = self.neighbours + 1, self.observed + self.predicted
        angle = 2 * math.pi * torch.rand(n, people, generator=generator)
        at = 5.0 * torch.stack([angle.cos(), angle.sin()], -1)
        goal = -at + 0.5 * torch.randn(at.shape, generator=generator)
        speed = 1.3 * (0.15 * torch.randn(n, people, 1, generator=generator)).exp()
        velocity = speed * torch.nn.functional.normalize(goal - at, dim=-1)
        dt, ways = _STEP / _INNER, [at]
        apart = torch.eye(people, dtype=torch.bool)[..., None]
        for _ in range(length - 1):
            for _ in range(_INNER):
                away = at[:, :, None] - at[:, None]
                gap = away.norm(dim=-1, keepdim=True).clamp_min(1e-3)
                push = torch.where(apart, 0.0, 2.1 * ((0.6 - gap) / 0.3).exp() * away / gap).sum(2)
                wanted = speed * torch.nn.functional.normalize(goal - at, dim=-1)
                velocity = velocity + dt * ((wanted - velocity) / 0.5 + push)
                at = at + dt * velocity
            ways.append(at)
        xy = torch.stack(ways, 2)
        xy = xy + 0.02 * torch.randn(xy.shape, generator=generator)
        xy = xy - xy[:, :1, self.observed - 1 : self.observed]
        order = xy[:, 1:, self.observed - 1].norm(dim=-1).argsort(1)
        others = xy[:, 1:].gather(1, order[..., None, None].expand(-1, -1, length, 2))
        others = torch.cat([others, torch.ones_like(others[..., :1])], -1)
        cond = {
            "past": xy[:, 0, : self.observed],
            "neighbours": others[:, :, : self.observed],
            "ahead": others[:, :, self.observed :],
        }
        return Examples(xy[:, 0, self.observed :], cond)
