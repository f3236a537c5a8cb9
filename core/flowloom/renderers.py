"""Renderers: how states look or sound in a report."""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.codecs import Codec
from flowloom.data.base import Examples
from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom.state import State, first_leaf

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["Atoms", "Figure", "Renderer", "Scatter"]


@dataclass(frozen=True)
class Figure:
    """Something to see or hear.

    Args:
        title: short heading; also what a screen reader says.
        mime: ``image/png``, ``image/svg+xml``, ``audio/wav`` or ``text/html``. HTML is put in as it is:
            whoever made it has escaped what it shows.
        data: the encoded content.
        caption: one or two sentences below it.
    """

    title: str
    mime: str
    data: bytes
    caption: str = ""


class Renderer(ABC):
    """Turns states into figures; a domain plugin supplies the one that suits its data.

    Beside whole figures it may give the pieces of which reports make strips, players and pairs: `tiles`,
    where one example can be looked at by itself (an image, a molecule), or `scenes`, where many make a
    picture together (points).

    Attributes:
        draws: answers to each question that `answers` wants; with several, all rows once, then again.
    """

    draws: int = 1

    @abstractmethod
    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Figures of generated examples, with real ones beside them where that helps."""

    @abstractmethod
    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Figures of a few rows on their way from source to data; ``states[i]`` belongs to ``times[i]``."""

    def misfit(self, spec: Spec) -> str:
        """Why data of this spec cannot be shown, in one line; empty where they can."""
        return ""

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` cannot be shown; see `flowloom.clashes`."""
        codec = parts.get("codec")
        spec = codec.data_spec if isinstance(codec, Codec) else parts.get("spec")
        if isinstance(spec, Spec) and (said := self.misfit(spec)):
            yield Clash("renderer", "data", said)

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """Figures of what a task asked, what was answered and what was right, row beside row.

        The figures of `samples` by default: questions beside the truth, and answers beside the truth.

        Args:
            asked: what of the questions can be shown as data; None where nothing can.
            answered: one answer to each, or ``draws`` of them.
            truth: the same rows as they are.
        """
        figures: list[Figure] = []
        for word, examples in (("asked", asked), ("answered", answered)):
            if examples is not None:
                shown = self.samples(examples, truth)
                caption = f"What was {word}, beside the truth of the same rows."
                figures += [replace(one, title=f"{one.title}: {word}", caption=caption) for one in shown]
        return figures

    def flow(self, flow: Flow, real: Examples) -> list[Figure]:
        """Figures of what the trained flow itself says (its density, say), with real examples over them.

        Examples are data; a flow with a codec speaks of its own states. None by default.
        """
        return []

    def tiles(self, examples: Examples) -> list[Figure]:
        """One small figure an example, in order; empty where one alone says nothing, which is the default."""
        return []

    def files(self, examples: Examples) -> list[Figure]:
        """One file of the domain's own form an example (an image, a sound), for whoever asks a run for
        samples; those of `tiles` by default."""
        return self.tiles(examples)

    def scenes(self, groups: Sequence[Examples]) -> list[Figure]:
        """One picture a group of examples, all to one scale; empty where they make none, the default."""
        return []


class Scatter(Renderer):
    """Point clouds: the first two coordinates of every example."""

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated and real points side by side."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(9, 4.5), layout="constrained")
        left, right = canvas.subplots(1, 2, sharex=True, sharey=True)
        for axes, name, examples in ((left, "samples", samples), (right, "real", real)):
            points = _plane(examples.x)
            axes.scatter(points[:, 0], points[:, 1], s=3, linewidths=0)
            axes.set(title=name, aspect="equal")
        return [Figure("Samples", "image/png", _png(canvas))]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """One panel per time."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(2.2 * len(states), 2.4), layout="constrained")
        panels = canvas.subplots(1, len(states), sharex=True, sharey=True, squeeze=False)[0]
        for axes, time, state in zip(panels, times, states, strict=True):
            points = _plane(state)
            axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
            axes.set(title=f"t = {time:.2f}", aspect="equal", xticks=[], yticks=[])
        return [Figure("From source to data", "image/png", _png(canvas))]

    def scenes(self, groups: Sequence[Examples]) -> list[Figure]:
        """A square of points a group, within the limits of the last group's and a little more."""
        from matplotlib.figure import Figure as Canvas

        planes = [_plane(group.x) for group in groups]
        # The last group is data; what runs away is not to make it small.
        last = planes[-1].nan_to_num(0.0)
        low, high = last.min(0).values, last.max(0).values
        middle, half = (low + high) / 2, 0.6 * float((high - low).max().clamp_min(1e-6))
        figures = []
        for points in planes:
            canvas = Canvas(figsize=(4, 4))
            axes = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
            axes.scatter(points[:, 0], points[:, 1], s=7, linewidths=0, alpha=0.7)
            axes.set_xlim(float(middle[0]) - half, float(middle[0]) + half)
            axes.set_ylim(float(middle[1]) - half, float(middle[1]) + half)
            axes.set_axis_off()
            figures.append(Figure("Points", "image/png", _png(canvas)))
        return figures


_ATOMS = ("#9aa3ab", "#3c4650", "#d1493f", "#3b6fd1", "#d1a12c", "#2f9e6e")


class Atoms(Renderer):
    """Points with types, such as atoms: discs in the plane, with lines between near ones, as SVG.

    Args:
        points: part that holds positions ``(N, 2 or more)``, whose first two coordinates are shown.
        types: part that holds a type a point, which decides its colour.
        bond: points nearer than this are joined.
        side: half the width of what is shown; what lies beyond is cut off.
        rows: most examples in a figure.
    """

    def __init__(
        self,
        points: str = "pos",
        types: str = "types",
        bond: float = 1.3,
        side: float = 3.0,
        rows: int = 20,
    ) -> None:
        if bond <= 0 or side <= 0 or rows < 1:
            raise ValueError("bond and side must be positive, and rows at least 1")
        self.points, self.types, self.bond, self.side, self.rows = points, types, bond, side, rows

    def misfit(self, spec: Spec) -> str:
        """States without the two parts."""
        if {self.points, self.types} <= spec.parts.keys():
            return ""
        return (
            f"renderer atoms shows states with the parts {self.points!r} and {self.types!r} (points, types); "
            f"the data have {spec.in_words()}"
        )

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated and real examples, a figure of each."""
        pairs = (("Generated", samples), ("Real", real))
        return [self._sheet(name, self._drawn(examples)) for name, examples in pairs]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """One example on its way, a drawing for every time."""
        drawn = [self._drawn(Examples(state))[0] for state in states]
        return [self._sheet("From source to data", drawn)]

    def tiles(self, examples: Examples) -> list[Figure]:
        """Each by itself."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{self._box()}">'
        drawn = self._drawn(examples, len(examples))
        return [Figure("Atoms", "image/svg+xml", f"{head}{one}</svg>".encode()) for one in drawn]

    def _box(self) -> str:
        return f"{-self.side:g} {-self.side:g} {2 * self.side:g} {2 * self.side:g}"

    def _drawn(self, examples: Examples, most: int | None = None) -> list[str]:
        """The inside of an SVG for each example; padding is left out where the layout tells of it."""
        x = examples.x
        points_of, types_of = (x.get(self.points), x.get(self.types)) if isinstance(x, dict) else (None, None)
        if not isinstance(points_of, Tensor) or not isinstance(types_of, Tensor):
            raise ShapeError(f"renderer atoms shows states with the parts {self.points!r} and {self.types!r}")
        most = self.rows if most is None else most
        layout = examples.layout and examples.layout.part(self.points)
        place = points_of[:most, :, :2].detach().float().cpu().nan_to_num(0.0, 1e6, -1e6)
        kind = types_of[:most].detach().cpu().long().tolist()
        there = None if layout is None or layout.real is None else layout.real[:most].cpu().tolist()
        drawn = []
        for row, points in enumerate(place.tolist()):
            shown = [(*points[i], kind[row][i]) for i in range(len(points)) if there is None or there[row][i]]
            near = [
                (a, b)
                for i, a in enumerate(shown)
                for b in shown[:i]
                if math.hypot(a[0] - b[0], a[1] - b[1]) < self.bond
            ]
            lines = "".join(
                f'<line x1="{a[0]:.2f}" y1="{a[1]:.2f}" x2="{b[0]:.2f}" y2="{b[1]:.2f}" '
                f'stroke="#7d868e" stroke-width="0.12"/>'
                for a, b in near
            )
            discs = "".join(
                f'<circle cx="{u:.2f}" cy="{v:.2f}" r="0.3" fill="{_ATOMS[k % len(_ATOMS)]}"/>'
                for u, v, k in shown
            )
            drawn.append(lines + discs)
        return drawn

    def _sheet(self, title: str, drawn: Sequence[str], columns: int = 10) -> Figure:
        width, rows = min(columns, len(drawn)), -(-len(drawn) // columns)
        cells = "".join(
            f'<svg x="{100 * (i % columns)}" y="{100 * (i // columns)}" width="100" height="100" '
            f'viewBox="{self._box()}">{one}</svg>'
            for i, one in enumerate(drawn)
        )
        size = f'width="{100 * width}" height="{100 * rows}"'
        return Figure(
            title,
            "image/svg+xml",
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{cells}</svg>'.encode(),
        )


def _plane(state: State) -> Tensor:
    points = first_leaf(state).detach().float().cpu().flatten(1)
    return points[:, :2] if points.shape[1] > 1 else points.expand(-1, 2)


def _png(canvas: object) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)  # type: ignore[attr-defined]
    return buffer.getvalue()
