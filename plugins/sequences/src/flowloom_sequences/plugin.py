"""The rows of the sequences plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DFM, _DIRICHLET, _CATFLOW = "2407.15595", "2402.05841", "2406.04843"


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets, simplex parts, backbones, solvers, metrics, the renderer and recipes for sequences."""
    _data(reg)
    _transport(reg)
    _networks(reg)
    _inference(reg)
    _recipes(reg)


def _data(reg: Registrar) -> None:
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


def _transport(reg: Registrar) -> None:
    home = "flowloom_sequences.simplex"
    reg.add("geometry", "flat-simplex", f"{home}:FlatSimplex", summary="rows of probabilities, flat metric")
    reg.add(
        "source",
        "dirichlet",
        f"{home}:DirichletSource",
        summary="rows from a symmetric Dirichlet law",
        within="dirichlet-toy",
    )
    reg.add(
        "schedule",
        "cubic",
        "flowloom_sequences.schedules:Cubic",
        summary="cubic kappa with chosen slopes at both ends",
        paper=_DFM,
    )
    reg.add(
        "times",
        "exponential",
        f"{home}:ExponentialTimes",
        summary="a = 1 + 2 Exp(1) of Dirichlet flows, cut at t = 1",
        paper=_DIRICHLET,
    )
    reg.add("times", "at-source", f"{home}:AtSource", summary="always t = 0: one-step students")
    reg.add(
        "path",
        "noisy-mixture",
        "flowloom_sequences.noisy_mixture:NoisyMixturePath",
        summary="the three-term mixture: x0, uniform noise, x1; samples correct themselves",
        paper=_DFM,
        known_failures={"check_mixture_marginal": "a share of the tokens is uniform noise, by design"},
        example={"geometry": {"use": "discrete", "vocab": 5}},
    )
    reg.add(
        "path",
        "dirichlet",
        f"{home}:DirichletPath",
        summary="Dir(1 + s e_i), exact conditional velocity",
        paper=_DIRICHLET,
    )


def _networks(reg: Registrar) -> None:
    home = "flowloom_sequences.models"
    reg.add(
        "model",
        "sequence-transformer",
        f"{home}:SequenceTransformer",
        summary="bidirectional transformer, adaLN time, rotary positions; tokens or simplex points",
        example={"width": 16, "depth": 1, "heads": 2},
        data="dyck",
    )
    reg.add(
        "model",
        "causal-transformer",
        f"{home}:CausalTransformer",
        summary="a language model: every token from those before it; judges of text",
        example={"width": 16, "depth": 1, "heads": 2},
        known_failures={"check_time_and_state_matter": "a language model knows no time"},
        data="dyck",
    )
    reg.add(
        "objective",
        "next-token",
        "flowloom_sequences.next_token:NextToken",
        summary="cross entropy of every token given those before it: trains a causal-transformer",
        within="markov",
    )
    reg.add(
        "model",
        "dilated-cnn",
        f"{home}:DilatedCNN",
        summary="dilated residual convolutions for DNA; tokens or simplex points",
        example={"width": 8, "stacks": 1},
        paper=_DIRICHLET,
        data="motif-dna",
    )
    reg.add(
        "model",
        "hugging-face",
        f"{home}:HuggingFaceEncoder",
        summary="any transformers encoder as backbone, new or from a local folder",
        example={
            "config": {
                "model_type": "bert",
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
            }
        },
        data="dyck",
    )
    reg.add(
        "objective",
        "generalized-kl",
        "flowloom_sequences.elbo:GeneralizedKL",
        summary="the likelihood bound of jump processes as loss",
        paper="2412.06264",
        example={"path": {"use": "mixture", "geometry": {"use": "discrete", "vocab": 5}}},
    )


def _inference(reg: Registrar) -> None:
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


_RECIPES = {
    "text-characters": ("readable Shakespeare, character by character, in 10 minutes", _DFM),
    "markov": ("an order-2 language whose likelihood is exact; --with another flow", _DFM),
    "dyck": ("balanced brackets from masks", _DFM),
    "dirichlet-toy": ("the Dirichlet paper's toy; its baseline --with linear-flow", _DIRICHLET),
    "dirichlet-one-step": ("the same toy in one evaluation, distilled from sixty", _DIRICHLET),
    "dna-guided": ("DNA with the motif of a class, guided on the simplex", _DIRICHLET),
    "dna-toy": ("two classes of short DNA, guided, in a minute", _DIRICHLET),
    "catflow-graphs": ("small graphs by CatFlow, half a minute", _CATFLOW),
    "text-paper": ("the 150M transformer of masked and discrete flows, at paper scale", _DFM),
    "dna-paper": ("the paper's 20-layer network for promoters and enhancers", _DIRICHLET),
    "discrete-flow": ("part, to lay over token data: discrete flow matching from masks", _DFM),
    "discrete-flow-uniform": ("part: the same from uniform tokens, with a corrector", _DFM),
    "dirichlet-flow": ("part: Dirichlet flow matching", _DIRICHLET),
    "linear-flow": ("part: linear simplex flow matching", _DIRICHLET),
    "one-step": ("part: a one-step student of a run on the simplex; set data.folder", _DIRICHLET),
    "catflow": ("part: variational flow matching from Gaussian noise", _CATFLOW),
}


def _recipes(reg: Registrar) -> None:
    for name, (summary, paper) in _RECIPES.items():
        reg.recipe(name, f"flowloom_sequences:recipes/{name}.yaml", summary=summary, paper=paper)
