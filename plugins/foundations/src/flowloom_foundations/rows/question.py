"""If generative AI is the answer, what is the question? Families, and what is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, base = "flowloom_foundations.question", "flowloom_foundations:recipes"
    timeless = {"check_time_and_state_matter": "its answers do not depend on the time"}
    reg.add(
        "model",
        "gaussian-vae",
        f"{home}.vae:GaussianVAE",
        summary="Gaussian encoder and decoder, with a bound of the density",
        paper="1312.6114",
        example={"width": 8},
        within="generative-question-vae",
        known_failures=timeless
        | {"check_every_parameter_learns": "its answers are the decoder's; the encoder learns by the bound"},
    )
    reg.add(
        "objective",
        "evidence-bound",
        f"{home}.vae:EvidenceBound",
        summary="the evidence bound of a variational autoencoder",
        paper="1312.6114",
        within="generative-question-vae",
    )
    reg.add(
        "solver",
        "decode",
        f"{home}.vae:Decode",
        summary="one evaluation of a decoder, whose answers are drawn",
        paper="1312.6114",
        within="generative-question-vae",
    )
    reg.add(
        "score",
        "lower-bound",
        f"{home}.vae:LowerBound",
        summary="the evidence bound of held-out examples",
        paper="1312.6114",
        within="generative-question-vae",
    )
    reg.add(
        "model",
        "still",
        f"{home}.still:Still",
        summary="a velocity of 0: samples are what the source draws",
        known_failures=timeless | {"check_bf16": "it has nothing to learn"},
        example={},
    )
    reg.add(
        "source",
        "diluted",
        f"{home}.still:Diluted",
        summary="a trained flow, most of whose draws are noise",
        paper="1511.01844",
        example={},
        tags=("solved",),
    )
    reg.add(
        "score",
        "best-of-n",
        f"{home}.best_of:BestOf",
        summary="what the best of several samples gains, and its divergence",
        paper="2401.01879",
        example={"energy": {"use": "gaussian-mixture", "means": [[1.0, 0.0]]}, "kept": 20},
        known_failures={"check_truth_is_better": "a reward knows no truth"},
    )
    reg.add(
        "metric",
        "membership",
        f"{home}.membership:Membership",
        summary="whether samples give training examples away",
        example={},
        tags=("fitted",),
        known_failures={"check_real_beats_noise": "training data themselves are what is given away"},
    )
    for name, summary in (
        ("generative-question", "two moons by flow matching, with a density, and what is asked of it"),
        ("generative-question-vae", "two moons by a variational autoencoder, which has a bound"),
        (
            "generative-question-diluted",
            "a flow of which 99 samples of a hundred are noise",
        ),
        ("generative-question-memoriser", "training data again: perfect samples, and no density"),
    ):
        reg.recipe(name, f"{base}/{name}.yaml", summary=summary)
    reg.experiment(
        "generative-question",
        "flowloom_foundations:experiments/generative-question.yaml",
        summary="six families of 20,000 parameters on two moons: samples, densities, time",
    )
