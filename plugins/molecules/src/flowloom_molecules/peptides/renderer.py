"""Peptides to look at: sequences, sticks to turn about, and backbone angles beside the real ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_molecules import viewer
from flowloom_molecules.peptides.atoms import phi_psi
from flowloom_molecules.peptides.form import require_peptides
from flowloom_molecules.peptides.pdb import pdb_text, sequence
from flowloom_molecules.peptides.quality import real_residues

__all__ = ["PeptideView"]


class PeptideView(Renderer):
    """Full atoms of drawn and real peptides with their pockets, offline (3Dmol.js), and a Ramachandran plot.

    Args:
        spec: of the data; injected from the recipe.
        count: drawn peptides to turn about, and as many real ones.
    """

    def __init__(self, spec: Spec, count: int = 3) -> None:
        require_peptides(spec, "renderer peptide-view")
        if not 1 <= count <= viewer.MOST // 2:
            raise ValueError(f"count is between 1 and {viewer.MOST // 2}, got {count}")
        self.spec, self.count = spec, count

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Drawn ones beside real ones, in space and by their backbone angles."""
        views = [
            viewer.View(f"{who}{sequence(rows, i)}", pdb_text(rows, i), "pdb")
            for who, rows in (("", samples), ("real: ", real))
            for i in range(min(self.count, len(rows)))
        ]
        caption = (
            "Drag to turn. Residues of the pocket stand apart from the chain. Bonds are seen in distances."
        )
        return [
            Figure("Peptides in space", "text/html", viewer.page(views), caption),
            Figure(
                "Backbone angles", "image/png", _ramachandran(samples, real), "Inner residues; phi and psi."
            ),
        ]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """The first peptide's CA trace from noise to data, seen along the third axis."""
        from matplotlib.figure import Figure as Canvas

        chosen = sorted({round(i * (len(times) - 1) / 5) for i in range(6)})
        canvas = Canvas(figsize=(2.0 * len(chosen), 2.2), layout="constrained")
        panels = canvas.subplots(1, len(chosen), squeeze=False)[0]
        for axes, i in zip(panels, chosen, strict=True):
            state: Any = states[i]
            pos = state["pos"][0].detach().cpu()
            axes.plot(pos[:, 0], pos[:, 1], "-o", markersize=4)
            axes.set(aspect="equal", xticks=[], yticks=[], title=f"t = {times[i]:.2f}")
        return [Figure("From noise to a peptide", "image/png", _png(canvas), "CA, padding at the centre.")]


def _ramachandran(samples: Examples, real: Examples) -> bytes:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6.4, 3.2), layout="constrained")
    for axes, (title, rows) in zip(
        canvas.subplots(1, 2, sharex=True, sharey=True), (("drawn", samples), ("real", real)), strict=True
    ):
        x: Any = rows.x
        there = real_residues(rows)
        phi, psi = (torch.rad2deg(v) for v in phi_psi(x["pos"], x["rot"]))
        inner = there[:, 2:] & there[:, 1:-1] & there[:, :-2]
        axes.scatter(phi[:, :-1][inner].detach(), psi[:, 1:][inner].detach(), s=4, alpha=0.5)
        axes.set(title=title, xlim=(-180, 180), ylim=(-180, 180), xlabel="phi", ylabel="psi", aspect="equal")
    return _png(canvas)


def _png(canvas: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
