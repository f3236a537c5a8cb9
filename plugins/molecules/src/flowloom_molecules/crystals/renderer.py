"""Crystals to turn about: some cells of each, beside the real one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_molecules import viewer
from flowloom_molecules.crystals.structures import structures


class CrystalView(Renderer):
    """Drawn crystals beside the real ones of the same rows, in space (offline, interactive).

    Args:
        repeat: cells in each direction.
        frames: most times of the way from noise to data.
    """

    def __init__(self, repeat: int = 2, frames: int = 6) -> None:
        if repeat < 1 or frames < 2:
            raise ValueError(f"repeat must be at least 1 and frames at least 2, got {repeat} and {frames}")
        self.repeat, self.frames = repeat, frames

    def misfit(self, spec: Spec) -> str:
        """States that are no cells with atoms."""
        if {"frac", "types", "lengths", "angles"} <= spec.parts.keys():
            return ""
        return (
            "renderer crystal-view shows states with the parts frac, types, lengths and angles; "
            f"the data have {spec.in_words()}"
        )

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """One page of both."""
        views = []
        for drawn, truth in zip(structures(samples), structures(real), strict=False):
            for name, one in (("drawn", drawn), ("real", truth)):
                if one is not None:
                    title = f"{name}: {one.composition.reduced_formula}"
                    views.append(viewer.View(title, str(one.to(fmt="cif")), "cif", self.repeat))
        if not views:
            return []
        caption = f"{self.repeat} cells in each direction. Drag to turn."
        return [Figure("Crystals", "text/html", viewer.page(views), caption)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Fractional coordinates of the first cells at every time, along the third axis."""
        from matplotlib.figure import Figure as Canvas

        step = max(1, -(-len(times) // self.frames))
        chosen = sorted({*range(0, len(times), step), len(times) - 1})
        first: Any = states[0]
        rows = min(3, len(first["frac"]))
        canvas = Canvas(figsize=(1.9 * len(chosen), 1.9 * rows), layout="constrained")
        panels = canvas.subplots(rows, len(chosen), squeeze=False)
        for column, i in enumerate(chosen):
            state: Any = states[i]
            for row in range(rows):
                axes, points = panels[row][column], state["frac"][row].detach().cpu() % 1.0
                axes.scatter(points[:, 0], points[:, 1], c=range(len(points)), cmap="tab10", s=28)
                axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"t = {times[i]:.2f}")
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=110)
        return [Figure("Atoms on their way", "image/png", buffer.getvalue(), "Fractional coordinates.")]
