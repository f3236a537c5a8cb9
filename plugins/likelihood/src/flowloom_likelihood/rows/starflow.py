"""STARFlow and TARFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME, PAPER = "flowloom_likelihood.starflow", "2506.06276"
_TIME = {"check_time_and_state_matter": "a bijection has no time"}
_TOKENS = dict.fromkeys(
    (
        "check_kind_is_kept",
        "check_shape_is_kept",
        "check_evaluations_are_counted",
        "check_unconditional_is_left_alone",
    ),
    "the law's field is no autoregressive flow, whose tokens alone can be guided so",
)


def register(reg: Registrar) -> None:
    """Add blocks, models, objective, guidance, solver, score and recipes."""
    reg.add(
        "bijection",
        "autoregressive",
        "flowloom_likelihood.bijections.autoregressive:CausalBlock",
        summary="tokens moved one after the other, by a causal transformer of those before",
        example={"tokens": 4, "channels": 2, "width": 8, "depth": 1, "heads": 2},
        paper="2412.06329",
    )
    reg.add(
        "model",
        "starflow",
        "flowloom_likelihood.models:StarFlow",
        summary="autoregressive blocks of causal transformers, a deep one by the noise and shallow ones",
        example={"patch": 2, "layers": [1, 2], "width": 16, "heads": 2},
        paper=PAPER,
        within="digits-starflow",
        known_failures=_TIME,
        tags=("heavy",),
    )
    reg.add(
        "model",
        "tarflow",
        "flowloom_likelihood.models:TarFlow",
        summary="equal autoregressive blocks of causal transformers",
        example={"patch": 2, "blocks": 2, "depth": 1, "width": 16, "heads": 2},
        paper="2412.06329",
        within="digits-starflow",
        known_failures=_TIME,
    )
    reg.add(
        "objective",
        "noisy-likelihood",
        f"{HOME}:NoisyLikelihood",
        summary="exact likelihood of states with Gaussian noise",
        paper=PAPER,
        within="digits-starflow",
    )
    reg.add(
        "guidance",
        "autoregressive",
        f"{HOME}:AutoregressiveGuidance",
        summary="a product of Gaussians for every token of an autoregressive flow",
        paper=PAPER,
        within="digits-starflow",
        known_failures=_TOKENS,
    )
    reg.add(
        "solver",
        "jacobi-push",
        f"{HOME}:JacobiPush",
        summary="samples of an autoregressive flow by fixed point iteration on all tokens at once",
        paper="2002.03629",
        within="digits-starflow",
    )
    reg.add(
        "score",
        "inversion",
        f"{HOME}:Inversion",
        summary="error of a solver of bijections beside the exact inverse",
        within="digits-starflow",
    )
    for name, summary in (
        (
            "digits-starflow",
            "STARFlow on real digits, told their class: guidance, denoising, parallel inverse",
        ),
        ("digits-starflow-deep", "a deep and three shallow blocks, told no class"),
        ("latent-starflow", "STARFlow in the latents of a small autoencoder of digits"),
        ("imagenet-starflow", "STARFlow on ImageNet-256 at the paper's size"),
        ("text-starflow", "STARFlow for text to images at the paper's size"),
    ):
        reg.recipe(name, f"flowloom_likelihood:recipes/{name}.yaml", summary=summary, paper=PAPER)
