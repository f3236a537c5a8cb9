"""CaLMFlow: flows as sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.causal", "flowloom_foundations:recipes", "2410.05292"
    reg.add(
        "model",
        "causal-trajectory",
        f"{home}:CausalTrajectory",
        summary="a causal transformer: from all states so far to a law of the next",
        example={"steps": 4, "width": 16, "depth": 1, "heads": 2},
        paper=paper,
    )
    reg.add(
        "objective",
        "next-state",
        f"{home}:NextState",
        summary="the next state of a trajectory from all before it, through a latent",
        paper=paper,
        known_failures={
            "check_exact_answers_have_no_loss": "its network answers with laws of latents",
            "check_field_is_of_its_kind": "its field is called with histories",
        },
        within="calmflow",
    )
    reg.add(
        "solver",
        "trajectory-rollout",
        f"{home}:Rollout",
        summary="draws state after state from all before it",
        paper=paper,
        known_failures=dict.fromkeys(
            (
                "check_evaluations_are_counted",
                "check_dtype_is_kept",
                "check_follows_its_generator",
                "check_trajectory",
                "check_on_step",
                "check_no_rows",
            ),
            "its fields are called with histories, and the laws' with states",
        ),
        within="calmflow",
    )
    for name, summary in (
        ("calmflow", "two moons by a causal transformer over trajectories"),
        ("calmflow-full", "1,000-dimensional trajectories by a transformer of GPT-2's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    reg.recipe(
        "calmflow-baseline", f"{recipes}/calmflow-baseline.yaml", summary="flow matching, as many calls"
    )
