"""Renderers: how states look or sound in a report."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from flowloom.data.base import Examples
from flowloom.state import State, first_leaf

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["Figure", "Renderer", "Scatter"]


@dataclass(frozen=True)
class Figure:
    """Something to see or hear.

    Args:
        title: short heading.
        mime: ``image/png``, ``image/svg+xml``, ``audio/wav`` or ``text/html``.
        data: the encoded content.
        caption: one or two sentences below it.
    """

    title: str
    mime: str
    data: bytes
    caption: str = ""


class Renderer(ABC):
    """Turns states into figures; a domain plugin supplies the one that suits its data."""

    @abstractmethod
    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Figures of generated examples, with real ones beside them where that helps."""

    @abstractmethod
    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Figures of a few rows on their way from source to data; ``states[i]`` belongs to ``times[i]``."""

    def answers(self, asked: Examples | None, answered: Examples, truth: Examples) -> list[Figure]:
        """Figures of what a task asked, what was answered and what was right, row beside row.

        The figures of `samples` by default: questions beside the truth, and answers beside the truth.

        Args:
            asked: what of the questions can be shown as data; None where nothing can.
            answered: one answer to each.
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


def _plane(state: State) -> Tensor:
    points = first_leaf(state).detach().float().cpu().flatten(1)
    return points[:, :2] if points.shape[1] > 1 else points.expand(-1, 2)


def _png(canvas: object) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)  # type: ignore[attr-defined]
    return buffer.getvalue()
