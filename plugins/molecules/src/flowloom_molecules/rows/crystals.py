"""Crystals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_FLOWMM = "2406.04713"


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.crystals"
    reg.add(
        "dataset",
        "crystals",
        "flowloom_molecules.data.crystals:Crystals",
        summary="cells of CIF files, or of CSV files with a column of CIF (perov-5, carbon-24, MP-20)",
        example={"name": "perov_5"},
        tags=("files",),
        paper="2110.06197",
    )
    reg.add(
        "dataset",
        "perovskites",
        "flowloom_molecules.data.perovskites:Perovskites",
        summary="perovskites drawn from ionic radii, no file needed",
        example={"n": 128},
    )
    reg.add(
        "dataset",
        "crystal-prototypes",
        "flowloom_molecules.data.prototypes:Prototypes",
        summary="layered binary crystals of three invented prototypes, no file needed",
        example={"n": 128},
    )
    reg.add(
        "codec",
        "lattice-chart",
        f"{home}.chart:LatticeChart",
        summary="angles of cells on the line, elements as analog bits where they are made up",
        paper=_FLOWMM,
        within="perovskites",
    )
    reg.add(
        "source",
        "log-normal",
        "flowloom_molecules.sources:LogNormal",
        summary="positive numbers with the logarithms of the data",
        example={"scale": 0.3},
        paper=_FLOWMM,
    )
    reg.add(
        "source",
        "logistic",
        "flowloom_molecules.sources:Logistic",
        summary="logits of uniform numbers",
        paper=_FLOWMM,
    )
    reg.add(
        "coupling",
        "aligned",
        "flowloom_molecules.aligned:Aligned",
        summary="x0 shifted, turned and reordered inside each row until it lies near x1",
        example={"rotate": True, "assign": True},
        paper="2306.15030",
    )
    reg.add(
        "model",
        "cspnet",
        f"{home}.network:CSPNet",
        summary="periodic graph network on fractional coordinates and lattice parameters",
        example={"width": 16, "depth": 1, "frequencies": 2},
        paper=_FLOWMM,
        within="perovskites",
    )
    reg.add(
        "model",
        "cspnet-absolute",
        f"{home}.absolute:AbsoluteCSPNet",
        summary="cspnet that also sees where atoms stand, for flows of raw coordinates",
        example={"width": 16, "depth": 1, "frequencies": 2},
        within="perovskites",
    )
    reg.add(
        "guidance",
        "anti-annealing",
        f"{home}.annealing:AntiAnnealing",
        summary="velocities of some parts times 1 + s t",
        example={"slopes": {"frac": 2.0}},
        paper=_FLOWMM,
        within="perovskites",
    )
    reg.add(
        "metric",
        "structure-match",
        f"{home}.match:StructureMatch",
        summary="match rate and RMS of predicted crystals, beside training structures",
        example={"baselines": False},
        paper=_FLOWMM,
        within="perovskites",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "crystal-validity",
        f"{home}.validity:CrystalValidity",
        summary="structural and compositional validity, density, number of elements",
        paper="2110.06197",
        within="perovskites",
        tags=("heavy",),
    )
    reg.add(
        "metric",
        "lattice-distance",
        f"{home}.lattice:LatticeDistance",
        summary="energy distances of cell lengths and angles",
        paper=_FLOWMM,
        within="perovskites",
        known_failures={"check_real_beats_noise": "all angles of these cells are 90 degrees, noise included"},
    )
    reg.add(
        "renderer",
        "crystal-view",
        f"{home}.renderer:CrystalView",
        summary="cells to turn about beside the real ones (offline)",
        within="perovskites",
    )
    reg.recipe(
        "crystals-mp20",
        "flowloom_molecules:recipes/crystals-mp20.yaml",
        summary="structure prediction on MP-20, the paper's scale (needs an accelerator)",
        paper=_FLOWMM,
    )
    reg.recipe(
        "crystals-perov-de-novo",
        "flowloom_molecules:recipes/crystals-perov-de-novo.yaml",
        summary="perov-5 from nothing: elements, coordinates and cell together",
        paper=_FLOWMM,
    )
    reg.recipe(
        "perovskites",
        "flowloom_molecules:recipes/perovskites.yaml",
        summary="structure prediction of drawn perovskites, no file needed",
        paper=_FLOWMM,
    )
    reg.recipe(
        "flowmm",
        "flowloom_molecules:recipes/flowmm.yaml",
        summary="FlowMM's choices one by one on drawn crystals, no file needed",
        paper=_FLOWMM,
    )
    reg.recipe(
        "crystals-perov",
        "flowloom_molecules:recipes/crystals-perov.yaml",
        summary="structure prediction on perov-5",
        paper=_FLOWMM,
    )
