"""Judges and data of molecules in space that come with packages of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.molecules"
    reg.add(
        "dataset",
        "components",
        "flowloom_molecules.data.components:Components",
        summary="20,000 small molecules of the PDB with ideal positions, which biotite ships",
        requires=("biotite",),
        tags=("files",),
    )
    reg.add(
        "metric",
        "posebusters",
        f"{home}.busted:PoseBusted",
        summary="share of molecules that pass the tests of PoseBusters, beside RDKit's conformers",
        example={"rows": 4},
        requires=("posebusters",),
        paper="2308.05777",
        within="molecules-small",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "conformer-energy",
        f"{home}.strain:ConformerEnergy",
        summary="energies above RDKit's own conformers, by MMFF94 or GFN2-xTB",
        example={"rows": 10, "conformers": 2},
        within="molecules-small",
    )
