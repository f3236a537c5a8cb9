"""Flow-GRPO, and Smart-GRPO, which searches its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_alignment", "flowloom_alignment:recipes"
    reg.add(
        "objective",
        "flow-grpo",
        f"{home}.flow_grpo:FlowGRPO",
        summary="clipped policy gradients of walks by an SDE, rewards beside those of their group",
        paper="2505.05470",
        example={"energy": {"use": "distance-to", "point": [1.0, 0.0, 0.0]}},
        known_failures={
            "check_exact_answers_have_no_loss": "it is no regression: its value is that of a policy",
            "check_times_follow_the_law": "it is asked at the times of its steps",
        },
    )
    reg.add(
        "solver",
        "flow-sde",
        f"{home}.sde:FlowSDE",
        summary="Gaussian steps with the flow's marginals, much noise near the source",
        paper="2505.05470",
        example={"steps": 100},
    )
    reg.add(
        "feed",
        "rollouts",
        f"{home}.rollout_feed:RolloutFeed",
        summary="walks of the policy in groups, with their rewards; their noise searched for if wanted",
        paper="2510.02654",
        example={"energy": {"use": "distance-to", "point": [1.0, 0.0]}, "group": 8, "search": {"rounds": 2}},
        data="eight-gaussians",
    )
    for name, summary in (
        ("smart-grpo-gaussians", "eight Gaussians led to one of them by Smart-GRPO, beside Flow-GRPO"),
        ("smart-grpo-digits", "digits that a classifier is to recognise (needs flowloom-images)"),
        ("smart-grpo-sd35", "a network as large as SD3.5 medium (needs flowloom-images)"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2510.02654")
