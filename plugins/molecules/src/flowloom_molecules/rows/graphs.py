"""Molecules as graphs of atoms and bonds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_CATFLOW = "2406.04843"


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_molecules.bonded"
    reg.add(
        "dataset",
        "molecular-graphs",
        "flowloom_molecules.data.bonded:MolecularGraphs",
        summary="atoms and bonds of the molecules in files of SMILES; QM9, ZINC250k, NCI by name",
        example={"files": ["small.csv"], "most_heavy": 7},
        paper=_CATFLOW,
    )
    reg.add(
        "model",
        "graph-transformer",
        f"{home}.transformer:GraphTransformer",
        summary="transformer on atoms, pairs and the graph, blind to the order of atoms",
        example={"width": 16, "pair_width": 8, "graph_width": 8, "depth": 2, "heads": 4},
        paper="2209.14734",
        data="molecular-graphs",
    )
    reg.add(
        "renderer",
        "graph-view",
        f"{home}.renderer:GraphView",
        summary="depictions of graphs, and their bonds on the way from noise",
        data="molecular-graphs",
    )
    reg.recipe(
        "molecules-graphs",
        "flowloom_molecules:recipes/molecules-graphs.yaml",
        summary="CatFlow on graphs of molecules that RDKit ships (needs flowloom-sequences)",
        paper=_CATFLOW,
    )
    reg.recipe(
        "molecules-graphs-qm9",
        "flowloom_molecules:recipes/molecules-graphs-qm9.yaml",
        summary="CatFlow on QM9 with the published network (needs an accelerator)",
        paper=_CATFLOW,
    )
    reg.recipe(
        "molecules-graphs-zinc",
        "flowloom_molecules:recipes/molecules-graphs-zinc.yaml",
        summary="CatFlow on ZINC250k with the published network (needs an accelerator)",
        paper=_CATFLOW,
    )
