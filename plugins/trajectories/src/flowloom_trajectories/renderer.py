"""Ways and series: draws as a fan over what came."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_trajectories.data.mazes import Maze
from flowloom_trajectories.motion import Mover, Panel, moving

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Fans"]

_DRAW, _PAST, _TRUTH, _OTHER = "#2f7fbf", "#222222", "#d1493f", "#9aa3ab"


class Fans(Renderer):
    """Draws as thin lines, what came in red, what was told before in black; neighbours are grey.

    States of two channels are ways in the plane, with both axes in metres; all others are series over steps,
    of which the first channel is shown with the band of its draws between the 5 % and the 95 % quantile.

    A task's answers are shown in motion, too, by an SVG that needs no script.

    Args:
        axes: ``plane``, ``time``, or by the number of channels.
        rows: panels of a figure.
        draws: draws of each row that a task is asked for.
        past: conditions that hold what was told before, the first one there is shown.
        neighbours: the condition of others around.
        maze: rows of walls to draw behind plans.
    """

    def __init__(
        self,
        axes: Literal["auto", "plane", "time"] = "auto",
        rows: int = 12,
        draws: int = 20,
        past: tuple[str, ...] = ("past", "context"),
        neighbours: str = "neighbours",
        maze: tuple[str, ...] = (),
    ) -> None:
        if rows < 1 or draws < 1:
            raise ValueError(f"rows and draws count from 1, got {rows} and {draws}")
        self.axes, self.rows, self.draws, self.past, self.neighbours = (
            axes,
            rows,
            draws,
            tuple(past),
            neighbours,
        )
        self.maze = Maze(tuple(maze)) if maze else None

    def misfit(self, spec: Spec) -> str:
        """Anything but ways and series."""
        if not spec.parts and not spec.discrete and len(spec.shape) == 2:
            return ""
        return f"renderer fans shows ways and series, (steps, channels); the data have {spec.in_words()}"

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated examples, and real ones where these are others: all ways of a kind over each other."""
        from matplotlib.figure import Figure as Canvas

        sides = [("samples", samples), *([("real", real)] if real is not samples else [])]
        canvas = Canvas(figsize=(5 * len(sides), 4.6), layout="constrained")
        panels = canvas.subplots(1, len(sides), sharex=True, sharey=True, squeeze=False)[0]
        last = _tensor(real)
        for axes, (name, examples) in zip(panels, sides, strict=True):
            axes.set_title(name)
            self._many(axes, _tensor(examples), last)
        words = "Generated and real" if len(sides) == 2 else "Generated"
        return [Figure("Samples", "image/png", _png(canvas), f"{words}, all over each other.")]

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """A panel each row: the fan of its draws over the truth."""
        from matplotlib.figure import Figure as Canvas

        n = len(truth)
        fans = _tensor(answered).reshape(-1, n, *_tensor(truth).shape[1:])
        shown = min(self.rows, n)
        columns = min(4, shown)
        lines = -(-shown // columns)
        canvas = Canvas(figsize=(3.1 * columns, 2.8 * lines), layout="constrained")
        grid = canvas.subplots(lines, columns, squeeze=False).flatten()
        for axes in grid[shown:]:
            axes.set_axis_off()
        for i in range(shown):
            self._fan(grid[i], fans[:, i], truth.take(torch.tensor([i])))
        caption = f"{len(fans)} draws each (blue) over what came (red)."
        figures = [Figure("Fans", "image/png", _png(canvas), caption)]
        if self._plane(_tensor(truth)[0]):
            panels = [self._panel(fans[:, i], truth.take(torch.tensor([i]))) for i in range(min(4, shown))]
            said = (
                "The same, in motion: draws (blue), what came (red), others (grey); a quarter second a step."
            )
            figures.append(moving(panels, said))
        return figures

    def _panel(self, fan: Tensor, truth: Examples) -> Panel:
        """One row in motion: what was told, then all that was drawn and what came."""
        told, came = self._told(truth), _tensor(truth)[0]
        if told is None or told.shape[-1] != came.shape[-1]:
            told = came[:0]
        nowhere = torch.full((len(told), 2), torch.nan)
        others, later = truth.cond.get(self.neighbours), truth.cond.get("ahead")
        movers = []
        # Others are in motion where they were seen while what is told was.
        if others is not None and others.ndim == 4 and others.shape[2] == len(told):
            both = others[0] if later is None else torch.cat([others[0], later[0]], 1)
            for way in both:
                seen = torch.where(way[:, 2:] > 0, way[:, :2].float(), torch.nan)
                missing = torch.full((len(told) + len(came) - len(seen), 2), torch.nan)
                movers.append(Mover(torch.cat([seen, missing]), _OTHER))
        movers += [Mover(torch.cat([nowhere, way[:, :2]]), _DRAW, 2.5, 0.25) for way in fan]
        movers.append(Mover(torch.cat([told, came])[:, :2], _TRUTH, 3.5, 0.5))
        low, side = self._square(torch.cat([told, came]))
        walls = [] if self.maze is None else [(int(x), int(y)) for y, x in self.maze.wall.nonzero().tolist()]
        return Panel(movers, low, side, walls)

    def _told(self, truth: Examples) -> Tensor | None:
        """What was told of one row before its state."""
        found = next((truth.cond[name][0].float() for name in self.past if name in truth.cond), None)
        return found if found is not None and found.ndim == 2 else None

    def _square(self, x: Tensor) -> tuple[tuple[float, float], float]:
        """Lower left corner and side of what is shown of ways."""
        flat = _finite(x.reshape(-1, x.shape[-1])[:, :2])
        low, high = flat.amin(0), flat.amax(0)
        middle, half = (low + high) / 2, 0.65 * float((high - low).max().clamp_min(0.5))
        return (float(middle[0]) - half, float(middle[1]) - half), 2 * half

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """The same rows from source to data, a panel each time."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(2.3 * len(states), 2.5), layout="constrained")
        panels = canvas.subplots(1, len(states), sharex=True, sharey=True, squeeze=False)[0]
        last = _tensor(Examples(states[-1]))
        for axes, time, state in zip(panels, times, states, strict=True):
            self._many(axes, _tensor(Examples(state)), last, label=False)
            axes.set_title(f"t = {time:.2f}")
        return [Figure("From source to data", "image/png", _png(canvas))]

    def tiles(self, examples: Examples) -> list[Figure]:
        """Each way by itself, as a drawing."""
        x = _tensor(examples)
        return [Figure("Way", "image/svg+xml", self._drawn(way).encode()) for way in x]

    def scenes(self, groups: Sequence[Examples]) -> list[Figure]:
        """All ways of a group over each other."""
        from matplotlib.figure import Figure as Canvas

        last, figures = _tensor(groups[-1]), []
        for group in groups:
            canvas = Canvas(figsize=(4, 4), layout="constrained")
            self._many(canvas.subplots(), _tensor(group), last)
            figures.append(Figure("Ways", "image/png", _png(canvas)))
        return figures

    def _plane(self, x: Tensor) -> bool:
        return self.axes == "plane" or (self.axes == "auto" and x.shape[-1] == 2)

    def _many(self, axes: Axes, x: Tensor, limits: Tensor, label: bool = True) -> None:
        """Up to 200 ways, within the limits of the others."""
        for way in x[:200]:
            self._line(axes, way, _DRAW, 0.35)
        self._limits(axes, limits, label)

    def _fan(self, axes: Axes, fan: Tensor, truth: Examples) -> None:
        told, came = self._told(truth), _tensor(truth)[0]
        start = 0 if told is None else -len(told)
        others = truth.cond.get(self.neighbours)
        if others is not None and others.ndim == 4 and self._plane(came):
            for way in others[0]:
                seen = way[way[:, 2] > 0]
                self._line(axes, seen[:, :2].float(), _OTHER, 0.8)
        if self._plane(came):
            # Ways go on from where the agent was last seen.
            last = told[-1:] if told is not None and told.shape[-1:] == came.shape[-1:] else came[:0]
            came = torch.cat([last, came])
            for way in fan:
                self._line(axes, torch.cat([last, way]), _DRAW, 0.4)
        else:
            low, middle, high = (fan[..., 0].nanquantile(q, 0) for q in (0.05, 0.5, 0.95))
            steps = range(len(came))
            axes.fill_between(steps, low.numpy(), high.numpy(), color=_DRAW, alpha=0.3, linewidth=0)
            axes.plot(steps, middle.numpy(), color=_DRAW, linewidth=1)
        if told is not None and told.shape[-1] == came.shape[-1]:
            self._line(axes, told, _PAST, 1.0, start)
        layout = truth.layout
        marks = None if layout is None else layout.given
        self._line(axes, came, _TRUTH, 1.0)
        if marks is not None and not self._plane(came):
            given = marks[0].reshape(len(came), -1)[:, 0]
            axes.scatter(given.nonzero()[:, 0].numpy(), came[given][:, 0].numpy(), s=8, color=_PAST, zorder=3)
        shown = torch.cat([came, told]) if told is not None and told.shape[-1:] == came.shape[-1:] else came
        self._limits(axes, shown[None], True)

    def _line(self, axes: Axes, way: Tensor, colour: str, alpha: float, start: int = 0) -> None:
        if self._plane(way):
            axes.plot(way[:, 0].numpy(), way[:, 1].numpy(), color=colour, alpha=alpha, linewidth=1)
        else:
            axes.plot(
                range(start, start + len(way)), way[:, 0].numpy(), color=colour, alpha=alpha, linewidth=1
            )

    def _limits(self, axes: Axes, x: Tensor, label: bool) -> None:
        if not self._plane(x):
            if label:
                axes.set_xlabel("step")
            return
        if self.maze is not None:
            height, width = self.maze.wall.shape
            walls = self.maze.wall.numpy()
            axes.imshow(walls, extent=(0, width, height, 0), cmap="Greys", vmax=3, interpolation="nearest")
        (left, lower), side = self._square(x)
        axes.set_xlim(left, left + side)
        axes.set_ylim(lower, lower + side)
        axes.set_aspect("equal")
        if label:
            axes.set_xlabel("x / m")
            axes.set_ylabel("y / m")

    def _drawn(self, way: Tensor) -> str:
        """One way as an SVG of its own scale."""
        flat = way.clamp(-1e6, 1e6)
        if not self._plane(way):
            flat = torch.stack([torch.linspace(0, 1, len(way)), -flat[:, 0]], -1)
        flat = _finite(flat[:, :2])
        low, high = flat.amin(0), flat.amax(0)
        size = (high - low).clamp_min(1e-6)
        scale = size if not self._plane(way) else size.max().expand(2)
        points = 8 + 84 * (flat - low) / scale
        if self._plane(way):
            points[:, 1] = 100 - points[:, 1]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())
        x, y = points[-1].tolist()
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
            f'<polyline points="{line}" fill="none" stroke="{_DRAW}" stroke-width="2"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_TRUTH}"/></svg>'
        )


def _finite(points: Tensor) -> Tensor:
    """Those of ``(n, 2)`` that are there; the origin where none is."""
    there = points[points.isfinite().all(-1)]
    return there if len(there) else points.new_zeros(1, 2)


def _tensor(examples: Examples) -> Tensor:
    x = examples.x
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.is_floating_point():
        raise ShapeError("fans show ways and series, (steps, channels); these states are something else")
    x, layout = x.detach().float(), examples.layout
    # What is missing is not shown, whatever stands in its place.
    if layout is not None and layout.real is not None:
        x = torch.where(layout.zero(torch.ones_like(x)) > 0, x, torch.nan)
    return x.cpu()


def _png(canvas: object) -> bytes:
    from matplotlib.figure import Figure as Canvas

    assert isinstance(canvas, Canvas)
    out = io.BytesIO()
    canvas.savefig(out, format="png", dpi=90, metadata={"Software": None})
    return out.getvalue()
