"""One molecule by its torsions, and force fields as energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.molecules.rotamers"
    reg.add(
        "dataset",
        "rotamers",
        f"{home}:Rotamers",
        summary="torsions of a chain whose bonds do not know of each other",
        example={"n": 200},
    )
    reg.add(
        "energy",
        "force-field",
        f"{home}:ForceField",
        summary="MMFF94 or UFF energy of a molecule over kT, by its torsions",
    )
