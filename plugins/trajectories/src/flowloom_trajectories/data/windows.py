"""Stretches of tracks as examples: an agent's future beside its past and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom_trajectories.data.tracks import Tracks

__all__ = ["Windows", "cut"]

_CHUNK = 4096


@dataclass(frozen=True)
class Windows:
    """Examples of one or several scenes, each in metres about the agent's last observed position.

    Args:
        future: ``(n, predicted, 2)``.
        past: ``(n, observed, 2)``; the last entry is 0.
        neighbours: nearest first, ``(n, agents, observed, 3)``: x, y and 1 where the agent was seen, else 0.
        ahead: the same neighbours in the frames of the future.
        origin: last observed position, ``(n, 2)``.
        start: first frame, int64 ``(n,)``.
    """

    future: Tensor
    past: Tensor
    neighbours: Tensor
    ahead: Tensor
    origin: Tensor
    start: Tensor

    def take(self, rows: Tensor) -> Windows:
        """Some of them."""
        return Windows(*(value[rows] for value in vars(self).values()))

    @classmethod
    def joined(cls, several: list[Windows]) -> Windows:
        """Those of several scenes, one after another."""
        return cls(*(torch.cat([vars(one)[name] for one in several]) for name in vars(several[0])))


def cut(tracks: Tracks, observed: int, predicted: int, agents: int) -> Windows:
    """Every stretch of ``observed + predicted`` sightings of every agent.

    Args:
        tracks: of one scene.
        observed: steps of the past.
        predicted: steps of the future.
        agents: most neighbours kept, of those in sight at the last observed step.
    """
    length = observed + predicted
    first = tracks.stretches(length)
    places = first[:, None] + torch.arange(length)
    # Differences of positions before they are rounded.
    xy = tracks.xy[places]
    origin = xy[:, observed - 1]
    around = _around(tracks, places, observed, origin, agents)
    centred = (xy - origin[:, None]).float()
    return Windows(
        centred[:, observed:],
        centred[:, :observed],
        around[:, :, :observed],
        around[:, :, observed:],
        origin.float(),
        tracks.frames[first],
    )


def _around(tracks: Tracks, places: Tensor, observed: int, origin: Tensor, agents: int) -> Tensor:
    """The nearest others at the last observed step, over all steps: ``(n, agents, steps, 3)``."""
    n, length = places.shape
    found = torch.zeros(n, agents, length, 3)
    if not agents or not n:
        return found
    frames, at = tracks.frames.unique(return_inverse=True)
    names, who = tracks.agents.unique(return_inverse=True)
    everyone = torch.full((len(frames), len(names), 2), torch.nan, dtype=tracks.xy.dtype)
    everyone[at, who] = tracks.xy
    kept = min(agents, len(names))
    for rows in torch.arange(n).split(_CHUNK):
        when = at[places[rows]]
        there = everyone[when[:, observed - 1]] - origin[rows, None]
        away = there.square().sum(-1).nan_to_num(torch.inf)
        away[torch.arange(len(rows)), who[places[rows, 0]]] = torch.inf
        distance, nearest = away.topk(kept, largest=False)
        steps = everyone[when[:, None, :], nearest[:, :, None]] - origin[rows, None, None]
        seen = steps.isfinite().all(-1) & distance.isfinite()[..., None]
        found[rows, :kept, :, :2] = torch.where(seen[..., None], steps, 0.0).float()
        found[rows, :kept, :, 2] = seen.float()
    return found
