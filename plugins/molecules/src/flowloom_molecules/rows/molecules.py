"""Molecules in space and their torsions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.molecules"
    reg.add(
        "dataset",
        "conformers",
        "flowloom_molecules.data.molecules:Conformers",
        summary="conformers of the SMILES in CSV files, made by RDKit and kept on disk",
        example={"files": ["small.csv"]},
    )
    reg.add(
        "model",
        "egnn",
        f"{home}.egnn:EGNN",
        summary="equivariant graph network on positions beside tokens",
        example={"width": 16, "depth": 2},
        paper="2102.09844",
        within="molecules-small",
    )
    reg.add(
        "metric",
        "molecule-quality",
        f"{home}.quality:MoleculeQuality",
        summary="validity, uniqueness, novelty, stability, and shapes of bonds",
        within="molecules-small",
    )
    reg.add(
        "renderer",
        "molecule-view",
        f"{home}.renderer:MoleculeView",
        summary="depictions, and molecules in space to turn about (offline)",
        within="molecules-small",
    )
    reg.add(
        "dataset",
        "molecule-file",
        "flowloom_molecules.data.sdf:MoleculeFile",
        summary="molecules of an SDF file with its own positions; QM9 by default",
        example={"file": "gdb9.sdf"},
        tags=("files",),
        paper="1703.00564",
    )
    reg.add(
        "dataset",
        "torsions",
        "flowloom_molecules.data.torsions:Torsions",
        summary="torsion angles of conformers, a circle for every rotatable bond",
        example={"files": ["small.csv"], "conformers": 2},
    )
    reg.recipe(
        "molecules-small",
        "flowloom_molecules:recipes/molecules-small.yaml",
        summary="common small molecules in space, no file needed",
        paper="2406.07266",
    )
    reg.recipe(
        "molecules-qm9",
        "flowloom_molecules:recipes/molecules-qm9.yaml",
        summary="QM9 in space, the literature's scale (needs an accelerator)",
        paper="2406.07266",
    )
    reg.recipe(
        "conformer-torsions",
        "flowloom_molecules:recipes/conformer-torsions.yaml",
        summary="torsion angles of conformers on tori (needs flowloom-geometries)",
        paper="2302.03660",
    )
    reg.recipe(
        "molecules-3d",
        "flowloom_molecules:recipes/molecules-3d.yaml",
        summary="small molecules in space: positions, elements and charges",
        paper="2406.07266",
    )
