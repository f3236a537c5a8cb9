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
        "model",
        "edm-egnn",
        f"{home}.edm:EDMNetwork",
        summary="the EGNN of EDM, its rounds with the parameters of the authors' code",
        example={"width": 16, "depth": 2},
        paper="2203.17003",
        within="molecules-small",
    )
    reg.add(
        "model",
        "tensor-field",
        f"{home}.tensor_field:TensorField",
        summary="equivariant network of vectors and tensors, by products with spherical harmonics",
        example={"width": 4, "depth": 2, "hidden": 8, "bumps": 4},
        paper="2101.03164",
        requires=("e3nn>=0.6",),
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
        "geom-drugs",
        "flowloom_molecules.data.geom:GeomDrugs",
        summary="conformers of drug-like molecules, as GEOM's authors publish them",
        example={"conformers": 2},
        paper="2006.05531",
        requires=("msgpack>=1.0",),
        tags=("files",),
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
        "molecules-geom",
        "flowloom_molecules:recipes/molecules-geom.yaml",
        summary="GEOM-Drugs in space, the literature's scale (needs an accelerator)",
        paper="2312.07168",
    )
    reg.recipe(
        "molecules-3d-tensor",
        "flowloom_molecules:recipes/molecules-3d-tensor.yaml",
        summary="molecules-3d by a tensor-field network (needs e3nn)",
        paper="2101.03164",
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
