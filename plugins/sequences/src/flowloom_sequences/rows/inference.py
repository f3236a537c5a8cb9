"""Solvers, guidance, tasks, judges and the renderer of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DFM = "2407.15595"
_DIRICHLET = "2402.05841"


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_sequences.simplex"
    reg.add(
        "guidance",
        "simplex-classifier-free",
        f"{home}:SimplexClassifierFree",
        summary="classifier-free guidance by scores on the simplex",
        paper=_DIRICHLET,
        within="dna-guided",
    )
    reg.add(
        "solver",
        "simplex-euler",
        f"{home}:SimplexEuler",
        summary="Euler on the simplex, finishing with the prediction",
        paper=_DIRICHLET,
        within="dirichlet-toy",
    )
    reg.add(
        "task",
        "infill",
        "flowloom_sequences.prompts:Infill",
        summary="fill in what a prompt leaves open; given tokens stay",
        paper=_DFM,
        data="markov",
    )
    reg.add(
        "score",
        "nll-bound",
        "flowloom_sequences.bound:NLLBound",
        summary="upper bound on the negative log likelihood of tokens, and bits a token",
        paper="2412.06264",
        data="markov",
    )
    home = "flowloom_sequences.metrics"
    reg.add(
        "metric",
        "ngram-distance",
        f"{home}:NGramDistance",
        summary="Jensen-Shannon distance of n-grams",
        data="dyck",
    )
    reg.add(
        "metric",
        "judge-perplexity",
        f"{home}:JudgePerplexity",
        summary="perplexity under a small autoregressive judge, with entropies beside it",
        example={"kind": "trigram"},
        data="markov",
    )
    reg.add(
        "metric",
        "language-gap",
        f"{home}:LanguageGap",
        summary="nats a token above a toy language's entropy",
        data="markov",
    )
    reg.add(
        "metric",
        "validity",
        f"{home}:Validity",
        summary="share of strings that the grammar allows",
        data="dyck",
    )
    reg.add(
        "metric",
        "motif-recovery",
        f"{home}:MotifRecovery",
        summary="whether guided DNA has its class's motif",
        data="motif-dna",
    )
    reg.add(
        "metric",
        "token-kl",
        f"{home}:TokenKL",
        summary="KL of token frequencies to the true table",
        data="independent-tokens",
    )
    reg.add(
        "metric",
        "graph-statistics",
        "flowloom_sequences.graphs:GraphStatistics",
        summary="distance of degrees and triangles of small graphs",
        data="small-graphs",
    )
    reg.add(
        "renderer",
        "sequence-text",
        "flowloom_sequences.renderer:SequenceText",
        summary="text as HTML: DNA in colour, prompts marked, tokens appearing",
        data="dyck",
    )
