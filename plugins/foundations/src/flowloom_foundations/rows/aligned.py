"""Latents aligned with flow priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.aligned", "flowloom_foundations:recipes", "2506.05240"
    reg.add(
        "dataset",
        "modes-in-space",
        f"{home}:ModesInSpace",
        summary="Gaussians on a circle, in a plane of more dimensions",
        example={"n": 200},
        paper=paper,
    )
    reg.add(
        "model",
        "vector-autoencoder",
        f"{home}:VectorAutoencoder",
        summary="two perceptrons: states to a vector, and back",
        example={"latent": 2, "width": 16},
        paper=paper,
        known_failures={"check_time_and_state_matter": "an autoencoder knows no time"},
    )
    reg.add(
        "objective",
        "flow-prior",
        f"{home}:FlowPrior",
        summary="reconstruction, and latents where a frozen flow would go",
        paper=paper,
        known_failures={
            "check_exact_answers_have_no_loss": "its network is an autoencoder",
        },
        within="vector-autoencoder",
    )
    reg.add(
        "score",
        "latent-law",
        f"{home}:LatentLaw",
        summary="distance of latents to the law that they were to follow",
        example={"target": "modes-in-space"},
        paper=paper,
        within="vector-autoencoder",
    )
    reg.recipe(
        "vector-autoencoder", f"{recipes}/vector-autoencoder.yaml", summary="points to vectors and back"
    )
    for name, summary in (
        ("flow-prior", "latents of digits on five modes in eight dimensions, by a flow's loss"),
        ("flow-prior-gaussian", "the same latents aligned with a Gaussian, as a KL term would"),
        ("flow-prior-none", "the same autoencoder, its latents left alone"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
