"""Data sets of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DIRICHLET = "2402.05841"
_CATFLOW = "2406.04843"


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_sequences.languages"
    reg.add(
        "dataset",
        "text",
        "flowloom_sequences.data:Text",
        summary="windows of a plain text file: characters, bytes, or a tokenizer's pieces",
        example={"length": 32},
        tags=("files",),
    )
    reg.add(
        "dataset",
        "sequence-file",
        "flowloom_sequences.data:SequenceFile",
        summary="FASTA, or one sequence a line: DNA, protein or any letters",
        example={"file": "sequences.fasta"},
        tags=("files",),
    )
    small = {"n": 256}
    reg.add(
        "dataset",
        "markov",
        f"{home}:Markov",
        summary="strings of a Markov chain, entropy known",
        example=small,
    )
    reg.add(
        "dataset",
        "independent-tokens",
        f"{home}:Independent",
        summary="independent tokens of random laws: the Dirichlet paper's toy",
        example=small,
        paper=_DIRICHLET,
    )
    reg.add(
        "dataset", "dyck", f"{home}:Dyck", summary="balanced brackets, uniform, validity exact", example=small
    )
    reg.add(
        "dataset",
        "motif-dna",
        f"{home}:MotifDNA",
        summary="DNA with a planted motif for each class",
        example=small,
    )
    reg.add(
        "dataset",
        "small-graphs",
        "flowloom_sequences.graphs:SmallGraphs",
        summary="graphs of ten nodes as edges: communities and stars",
        example={"n": 256},
        paper=_CATFLOW,
    )
    reg.add(
        "dataset",
        "distilled",
        "flowloom_sequences.simplex.distil:Distilled",
        summary="what a trained simplex flow makes of noise: data of its one-step student",
        example={"folder": "runs/teacher"},
        paper=_DIRICHLET,
        tags=("files",),
    )
    reg.add(
        "codec",
        "one-hot",
        "flowloom_sequences.simplex:OneHot",
        summary="tokens as vertices of the simplex, rows (L, K)",
        data="markov",
    )
