"""Networks of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_DIRICHLET = "2402.05841"


def register(reg: Registrar) -> None:
    """Add them."""
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
