"""Molecules to look at: depictions in two dimensions, and in three to turn about."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State, batch_size
from flowloom_molecules import viewer
from flowloom_molecules.molecules.perceived import Perceived, Perception


class MoleculeView(Renderer):
    """Drawn molecules as chemists draw them (SVG), and as they lie in space (offline, interactive).

    Args:
        spec: of the data; injected from the recipe.
        count: depictions, at most.
        frames: most times of the way from noise to data.
    """

    def __init__(self, spec: Spec, count: int = 18, frames: int = 6) -> None:
        if count < 1 or frames < 2:
            raise ValueError(f"count must be at least 1 and frames at least 2, got {count} and {frames}")
        self.spec, self.read, self.count, self.frames = spec, Perception(spec), count, frames

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Depictions of the valid ones, and a page of both in space."""
        drawn, truth = self.read(samples), self.read(real)
        valid = [one for one in drawn if one.whole is not None]
        figures = []
        if valid:
            caption = f"The first of {len(valid)} valid molecules among {len(drawn)} drawn."
            figures.append(Figure("Molecules drawn", "image/svg+xml", depicted(valid[: self.count]), caption))
        half = viewer.MOST // 2
        views = [viewer.View(one.smiles or "drawn, not valid", _block(one)) for one in drawn[:half]]
        views += [viewer.View(f"real: {one.smiles}", _block(one)) for one in truth[:half]]
        caption = "Drag to turn. Bonds are perceived from distances."
        figures.append(Figure("In space", "text/html", viewer.page(views), caption))
        return figures

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Atoms of the first molecules at every time, seen from above, coloured by element."""
        from matplotlib.figure import Figure as Canvas

        step = max(1, -(-len(times) // self.frames))
        chosen = sorted({*range(0, len(times), step), len(times) - 1})
        rows = min(3, batch_size(states[0]))
        canvas = Canvas(figsize=(2.0 * len(chosen), 2.0 * rows), layout="constrained")
        panels = canvas.subplots(rows, len(chosen), squeeze=False)
        kinds = max(2, len(self.read.elements))
        for column, i in enumerate(chosen):
            state: Any = states[i]
            pos, types = state["pos"], state["types"]
            for row in range(rows):
                axes, points = panels[row][column], pos[row].detach().cpu()
                order = points[:, 2].argsort()
                colours = types[row].cpu()[order]
                axes.scatter(
                    points[order, 0], points[order, 1], c=colours, cmap="tab10", vmin=0, vmax=kinds - 1, s=28
                )
                axes.set(aspect="equal", xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"t = {times[i]:.2f}")
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=110)
        return [
            Figure("From noise to molecules", "image/png", buffer.getvalue(), "Seen along the third axis.")
        ]


def depicted(molecules: Sequence[Perceived], columns: int = 6) -> bytes:
    """Molecules as chemists draw them, without hydrogens, as one SVG; what is none as its atoms and bonds."""
    from rdkit.Chem.Draw import rdMolDraw2D

    flat = [
        rdMolDraw2D.PrepareMolForDrawing(flattened(one), kekulize=one.whole is not None) for one in molecules
    ]
    across, down = min(columns, len(flat)), -(-len(flat) // columns)
    canvas: Any = rdMolDraw2D.MolDraw2DSVG(across * 150, down * 120, 150, 120)
    canvas.drawOptions().prepareMolsBeforeDrawing = False
    canvas.DrawMolecules(flat)
    canvas.FinishDrawing()
    return str(canvas.GetDrawingText()).encode()


def flattened(one: Perceived) -> Any:
    """A molecule laid out in the plane, without hydrogens; on a circle where bonds are too many for RDKit."""
    from rdkit import Chem, Geometry
    from rdkit.Chem import rdDepictor

    mol = Chem.Mol(one.connected) if one.whole is None else Chem.RemoveHs(one.whole)
    mol.RemoveAllConformers()
    Chem.FastFindRings(mol)
    try:
        rdDepictor.Compute2DCoords(mol)
    except RuntimeError:
        n, ring = mol.GetNumAtoms(), Chem.Conformer(mol.GetNumAtoms())
        for i in range(n):
            turn, size = 2 * math.pi * i / n, max(1.0, n / 4)
            ring.SetAtomPosition(i, Geometry.Point3D(size * math.cos(turn), size * math.sin(turn), 0.0))
        mol.RemoveAllConformers()
        mol.AddConformer(ring)
    return mol


def _block(one: Perceived) -> str:
    from rdkit import Chem

    mol = one.connected if one.whole is None else one.whole
    return str(Chem.MolToMolBlock(mol, kekulize=one.whole is not None))
