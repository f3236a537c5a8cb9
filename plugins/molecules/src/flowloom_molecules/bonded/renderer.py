"""Graphs of molecules to look at: depictions, and how bonds appear out of noise."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State, batch_size
from flowloom_molecules.bonded.reading import Bonded
from flowloom_molecules.bonded.symmetry import matrix_of
from flowloom_molecules.molecules.perceived import Perceived
from flowloom_molecules.molecules.renderer import depicted, flattened


class GraphView(Renderer):
    """Drawn molecules as chemists draw them, valid ones and the others apart, beside real ones.

    Args:
        spec: of the data; injected from the recipe.
        count: depictions a figure, at most.
        frames: most times of the way from noise to data.
    """

    def __init__(self, spec: Spec, count: int = 18, frames: int = 6) -> None:
        if count < 1 or frames < 2:
            raise ValueError(f"count must be at least 1 and frames at least 2, got {count} and {frames}")
        self.read, self.count, self.frames = Bonded(spec), count, frames

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Valid molecules, what is none, and real molecules."""
        drawn, truth = self.read(samples), self.read(real)
        valid = [one for one in drawn if one.whole is not None]
        others = [one for one in drawn if one.whole is None]
        figures = []
        if valid:
            caption = f"The first of {len(valid)} valid molecules among {len(drawn)} drawn."
            figures.append(_figure("Molecules drawn", valid[: self.count], caption))
        if others:
            caption = (
                f"The first of {len(others)} graphs that are no molecule: valences that cannot be, or parts."
            )
            figures.append(_figure("Drawn, not valid", others[: self.count // 3 or 1], caption))
        known = [one for one in truth if one.whole is not None]
        if known:
            figures.append(_figure("Real molecules", known[: self.count], "Held-out molecules."))
        return figures

    def tiles(self, examples: Examples) -> list[Figure]:
        """Each by itself."""
        return [_figure("Molecule", [one], one.smiles) for one in self.read(examples)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Graphs at every time, their atoms where the last one has them."""
        from matplotlib.figure import Figure as Canvas

        step = max(1, -(-len(times) // self.frames))
        chosen = sorted({*range(0, len(times), step), len(times) - 1})
        rows = min(3, batch_size(states[0]))
        canvas = Canvas(figsize=(2.0 * len(chosen), 2.0 * rows), layout="constrained")
        panels = canvas.subplots(rows, len(chosen), squeeze=False)
        there = {"atoms": _moving(states)}
        read = {i: self.read(Examples(states[i], there)) for i in chosen}
        for row in range(rows):
            last = read[chosen[-1]][row]
            places = flattened(replace(last, whole=None)).GetConformer().GetPositions()[:, :2]
            for column, i in enumerate(chosen):
                axes = panels[row][column]
                _sketch(axes, read[i][row], places)
                if row == 0:
                    axes.set_title(f"t = {times[i]:.2f}")
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=110)
        caption = "The likeliest atoms and bonds at every time, laid out as the last graph."
        return [Figure("From noise to molecules", "image/png", buffer.getvalue(), caption)]


def _figure(title: str, molecules: Sequence[Perceived], caption: str) -> Figure:
    return Figure(title, "image/svg+xml", depicted(molecules), caption)


def _moving(states: Sequence[Any]) -> Tensor:
    """Atoms that change, or some pair of them, ``(batch, atoms)``: padding stays as it is all the way."""
    n = states[0]["types"].shape[1]
    types, bonds = (torch.stack([state[name].cpu() for state in states]) for name in ("types", "bonds"))
    changed = (types != types[0]).any(0)
    pairs = matrix_of((bonds != bonds[0]).any(0), n)
    found = changed | pairs.any(2)
    return found | ~found.any(1, keepdim=True)


def _sketch(axes: Any, one: Perceived, places: Any) -> None:
    colours = {
        "C": "0.4",
        "N": "tab:blue",
        "O": "tab:red",
        "F": "tab:green",
        "Cl": "tab:green",
        "S": "tab:olive",
    }
    for bond in one.connected.GetBonds():
        ends = places[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        axes.plot(*ends.T, color="0.6", linewidth=1.6 * bond.GetBondTypeAsDouble(), zorder=1)
    for atom, place in zip(one.connected.GetAtoms(), places, strict=True):
        axes.scatter(*place, s=60, color=colours.get(atom.GetSymbol(), "tab:purple"), zorder=2)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.margins(0.15)
