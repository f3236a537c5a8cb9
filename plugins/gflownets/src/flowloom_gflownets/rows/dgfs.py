"""Diffusion generative flow samplers (2310.02679)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add the objective of parts of walks, the network, and recipes."""
    home, paper = "flowloom_gflownets", "2310.02679"
    reg.add(
        "objective",
        "subtrajectory-balance",
        f"{home}.subtrajectory:SubTrajectoryBalance",
        summary="residuals of all parts of a walk, or of a random segment alone",
        paper=paper,
        within="funnel-subtb",
        known_failures={
            "check_exact_answers_have_no_loss": "a walk is no point of a path, and has no target",
        },
    )
    reg.add(
        "model",
        "diffusion-control",
        f"{home}.diffusion.control:DiffusionControl",
        summary="a control that is told the score, and a flow beside it",
        example={
            "environment": {"use": "brownian", "energy": {"use": "funnel", "dims": 3}},
            "width": 8,
            "depth": 1,
        },
        paper=paper,
        within="funnel-subtb",
        known_failures={"check_output_shape": "it answers with a control and a flow"},
    )
    reg.add(
        "score",
        "gradient-noise",
        f"{home}.diffusion.noise:GradientNoise",
        summary="spread of the gradient of the control from batch to batch",
        example={"batches": 2, "batch": 4},
        paper=paper,
        within="funnel-subtb",
    )
    for name, summary, about in (
        ("funnel-subtb", "a funnel in ten dimensions from parts of walks", paper),
        ("funnel-subtb-long", "the same, trained longer", paper),
        ("funnel-tb", "the same funnel by trajectory balance", "2201.13259"),
        ("funnel-kl", "the same funnel by the path integral sampler", "2111.15141"),
        ("hypergrid-subtb", "parts of walks on a 16 x 16 grid", "2209.12782"),
        ("many-well-subtb-full", "32 dimensions of many wells at the paper's size", paper),
    ):
        reg.recipe(name, f"{home}:recipes/{name}.yaml", summary=summary, paper=about)
