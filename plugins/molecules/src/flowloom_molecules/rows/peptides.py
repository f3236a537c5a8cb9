"""Peptides in full atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_PEPFLOW = "2406.00735"
_SMALL = {"width": 16, "pair": 8, "depth": 1, "heads": 2, "hidden": 4, "points": 2, "values": 2, "tokens": 2}


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.peptides"
    reg.add(
        "dataset",
        "generated-peptides",
        f"{home}.generated:GeneratedPeptides",
        summary="peptides in pockets, drawn from a law whose types, torsions and pockets know of each other",
        example={"n": 64},
        paper=_PEPFLOW,
    )
    reg.add(
        "dataset",
        "peptide-files",
        f"{home}.files:PeptideFiles",
        summary="peptides of PDB and mmCIF files, alone or in the pocket of their receptor",
        example={"files": ["pepbdb"]},
        tags=("files",),
        paper=_PEPFLOW,
    )
    reg.add(
        "codec",
        "peptide-chart",
        f"{home}.chart:PeptideChart",
        summary="types of residues as logits, torsions and frames in the form of data",
        paper=_PEPFLOW,
        data="generated-peptides",
    )
    reg.add(
        "path",
        "simplex-logits",
        f"{home}.chart:LogitPath",
        summary="straight lines between logits that end on corners of the simplex",
        paper=_PEPFLOW,
    )
    reg.add(
        "model",
        "peptide-net",
        f"{home}.network:PeptideNet",
        summary="invariant point attention over residues of peptide and pocket",
        example=_SMALL,
        paper=_PEPFLOW,
        within="peptides-first-look",
        tags=("heavy",),
    )
    reg.add(
        "model",
        "separate-peptide-nets",
        f"{home}.separate:SeparateNets",
        summary="three peptide-nets that never meet: what a joint flow is compared with",
        example=_SMALL,
        within="peptides-first-look",
        tags=("heavy",),
    )
    reg.add(
        "objective",
        "pepflow",
        f"{home}.objective:PepFlow",
        summary="frames, torsions and types of a peptide by one prediction, with the losses that tie them",
        paper=_PEPFLOW,
        within="peptides-first-look",
    )
    reg.add(
        "solver",
        "peptide-euler",
        f"{home}.sampler:PeptideEuler",
        summary="steps of all parts towards one predicted peptide, any parts held",
        example={"steps": 4},
        paper=_PEPFLOW,
        within="peptides-first-look",
    )
    reg.add(
        "task",
        "partial-sampling",
        f"{home}.partial:PartialSampling",
        summary="some parts of a held-out peptide held at their data: fixed backbones, side-chain packing",
        example={"parts": ["pos", "rot"]},
        paper=_PEPFLOW,
        within="peptides-first-look",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "peptide-quality",
        f"{home}.quality:PeptideQuality",
        summary="bonds, backbone angles, rotamers of the types, and what faces the pocket",
        within="peptides-first-look",
    )
    reg.add(
        "metric",
        "peptide-recovery",
        f"{home}.recovery:PeptideRecovery",
        summary="types, backbone, frames and side-chain torsions beside the true peptide",
        paper=_PEPFLOW,
        within="peptides-first-look",
    )
    reg.add(
        "baseline",
        "rotamer-library",
        f"{home}.library:RotamerLibrary",
        summary="torsions of training residues of the same type and backbone; else random training peptides",
        data="generated-peptides",
    )
    reg.add(
        "renderer",
        "peptide-view",
        f"{home}.renderer:PeptideView",
        summary="peptides in full atoms to turn about beside the real ones, and their backbone angles",
        within="peptides-first-look",
    )
    reg.recipe(
        "peptides",
        "flowloom_molecules:recipes/peptides.yaml",
        summary="PepFlow on drawn peptides in pockets (needs flowloom-geometries)",
        paper=_PEPFLOW,
    )
    reg.recipe(
        "peptides-separate",
        "flowloom_molecules:recipes/peptides-separate.yaml",
        summary="baseline of peptides: backbone, torsions and types by flows that never meet",
    )
    reg.recipe(
        "peptides-flat",
        "flowloom_molecules:recipes/peptides-flat.yaml",
        summary="baseline of peptides: angles and rotation matrices as numbers",
    )
    reg.recipe(
        "pepflow",
        "flowloom_molecules:recipes/pepflow.yaml",
        summary="PepFlow at the authors' scale on files of peptide complexes (needs an accelerator)",
        paper=_PEPFLOW,
    )
    reg.recipe(
        "peptides-first-look",
        "flowloom_molecules:recipes/peptides-first-look.yaml",
        summary="PepFlow on drawn peptides, a minute (needs flowloom-geometries)",
        paper=_PEPFLOW,
    )
