"""Episodes as ways over the map of their world."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.flow import Flow
from flowloom.renderers import Figure, Renderer
from flowloom.seeds import generator
from flowloom.state import State
from flowloom_trajectories.control.agents import agent_of
from flowloom_trajectories.control.env import Env, Episodes, carried_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EpisodeView"]

_WAY, _START, _END = "#2f7fbf", "#222222", "#d1493f"


class EpisodeView(Renderer):
    """Ways that agents went, in the first two numbers that a world shows, over its walls.

    Of a flow it shows episodes in which it acts, and where it is a policy of two numbers, what it does from
    the same observation many times: a policy that knows several ways has several clusters there.

    Args:
        env: where; injected from the recipe.
        episodes: shown.
        every: steps between two plans.
        target: return that is wanted, for flows that are told one.
        seed: of the episodes.
    """

    def __init__(
        self, env: Env, episodes: int = 24, every: int = 1, target: float | None = None, seed: int = 0
    ) -> None:
        if episodes < 1 or every < 1:
            raise ValueError(f"episodes and every count from 1, got {episodes} and {every}")
        self.env, self.episodes, self.every, self.target, self.seed = env, episodes, every, target, seed

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Plans or actions, generated ones and those of the data side by side."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(9, 4.5), layout="constrained")
        panels = canvas.subplots(1, 2, sharex=True, sharey=True)
        for axes, name, examples in zip(panels, ("samples", "data"), (samples, real), strict=True):
            axes.set_title(name)
            self._draw(axes, examples.x)
        words = "Generated ones, and those of the recipe's data, all over each other."
        return [Figure("Samples", "image/png", _png(canvas), words)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """One panel a time."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(2.4 * len(states), 2.6), layout="constrained")
        panels = canvas.subplots(1, len(states), squeeze=False)[0]
        for axes, time, state in zip(panels, times, states, strict=True):
            axes.set_title(f"t = {time:.2f}")
            self._draw(axes, state, walls=False)
        return [Figure("From source to data", "image/png", _png(canvas))]

    def flow(self, flow: Flow, real: Examples) -> list[Figure]:
        """Episodes in which it acts, and what it does from the first observation of one."""
        from matplotlib.figure import Figure as Canvas

        draws = generator(self.seed, "episode-view")
        agent = agent_of(flow, self.env, self.every, self.target, None, self.seed)
        start = self.env.reset(self.episodes, draws)
        found = carried_out(self.env, agent, start, draws)
        canvas = Canvas(figsize=(5, 5), layout="constrained")
        self._ways(canvas.subplots(), found)
        words = f"{self.episodes} episodes: {float(found.returns.mean()):.2f} on average; ends are red."
        if self._goals() is not None:
            words += " Rings are goals."
        figures = [Figure("Episodes", "image/png", _png(canvas), words)]
        if tuple(flow.spec.shape) == (2,):
            figures.append(self._choices(flow, found))
        return figures

    def _choices(self, flow: Flow, found: Episodes) -> Figure:
        from matplotlib.figure import Figure as Canvas

        seen = found.observations[0, 0].expand(500, -1)
        x = flow.solve(500, cond={"observation": seen}, seed=self.seed).x
        assert isinstance(x, Tensor)
        canvas = Canvas(figsize=(4.5, 4.5), layout="constrained")
        axes = canvas.subplots()
        places = getattr(self.env, "places", None)
        if isinstance(places, Tensor) and self.env.observation == 1:
            axes.scatter(places[:, 0], places[:, 1], s=500, color=_END, alpha=0.2, linewidths=0)
        self._draw(axes, x, walls=False)
        words = ", ".join(f"{v:.2f}" for v in found.observations[0, 0].tolist())
        return Figure("Actions", "image/png", _png(canvas), f"500 actions under the observation ({words}).")

    def _ways(self, axes: Axes, found: Episodes) -> None:
        """Where observations have a place; else what was gained, step by step."""
        if self.env.observation < 2:
            gained = found.rewards.cumsum(1).mean(0)
            axes.plot(range(1, len(gained) + 1), gained.numpy(), color=_WAY)
            axes.set(xlabel="step", ylabel="gained so far, mean")
            return
        self._walls(axes)
        goals = self._goals()
        if goals is not None:
            angle = torch.linspace(0, 2 * torch.pi, 60)
            around = torch.stack([angle.cos(), angle.sin()], -1) * float(getattr(self.env, "within", 0.0))
            for goal in goals:
                ring = self.env.observe(goal + around)
                axes.plot(ring[:, 0].numpy(), ring[:, 1].numpy(), color=_END, linewidth=1)
        for way, steps in zip(found.observations, found.alive.sum(1).tolist(), strict=True):
            gone = way[: steps + 1]
            axes.plot(gone[:, 0].numpy(), gone[:, 1].numpy(), color=_WAY, alpha=0.5, linewidth=1)
            for at, colour in ((gone[0], _START), (gone[-1], _END)):
                axes.scatter([float(at[0])], [float(at[1])], s=12, color=colour, zorder=3)
        axes.set_aspect("equal")

    def _goals(self) -> Tensor | None:
        """Places that are the same in all episodes, where what agents see is where they are."""
        places = getattr(self.env, "places", None)
        seen = self.env.observation == 2 and isinstance(places, Tensor) and places.shape[-1] == 2
        return places if seen else None

    def _draw(self, axes: Axes, x: State, *, walls: bool = True) -> None:
        assert isinstance(x, Tensor)
        x = x.detach().float().cpu().nan_to_num(0.0)
        if x.ndim == 3 and x.shape[-1] >= 2:
            if walls:
                self._walls(axes)
            for way in x[:200]:
                axes.plot(way[:, 0].numpy(), way[:, 1].numpy(), color=_WAY, alpha=0.35, linewidth=1)
        else:
            flat = x.flatten(1)
            second = flat[:, 1] if flat.shape[1] > 1 else torch.zeros(len(flat))
            axes.scatter(flat[:, 0].numpy(), second.numpy(), s=4, color=_WAY, linewidths=0)
        axes.set_aspect("equal")

    def _walls(self, axes: Axes) -> None:
        maze = self.env.maze
        if maze is None:
            return
        height, width = maze.wall.shape
        axes.imshow(
            maze.wall.numpy(), extent=(0, width, height, 0), cmap="Greys", vmax=3, interpolation="nearest"
        )


def _png(canvas: object) -> bytes:
    from matplotlib.figure import Figure as Canvas

    assert isinstance(canvas, Canvas)
    out = io.BytesIO()
    canvas.savefig(out, format="png", dpi=90, metadata={"Software": None})
    return out.getvalue()
