"""ORW-CFM-W2, and AC-Flow, which adds a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_alignment", "flowloom_alignment:recipes"
    reward = {"use": "along", "direction": [1.0, 0.0]}
    in_space = {"use": "along", "direction": [1.0, 0.0, 0.0]}  # where the laws ask
    reg.add(
        "objective",
        "reward-weighted",
        f"{home}.reward_weighted:RewardWeighted",
        summary="flow matching of own samples weighed by their reward, held to the old flow (ORW-CFM-W2)",
        paper="2502.06061",
        example={"energy": in_space},
    )
    reg.add(
        "objective",
        "ac-flow",
        f"{home}.ac_flow:ACFlow",
        summary="the same weighed by what a critic of states on the way did not expect",
        paper="2510.18072",
        example={"energy": reward, "critic": {"use": "mlp-critic", "width": 16}},
        within="eight-gaussians",
    )
    reg.add(
        "feed",
        "rewarded",
        f"{home}.rewarded_feed:RewardedFeed",
        summary="the present flow's own samples with their rewards",
        paper="2502.06061",
        example={"energy": reward, "fresh": 32, "every": 3},
        data="eight-gaussians",
    )
    reg.add(
        "score",
        "critic-fit",
        f"{home}.critic_fit:CriticFit",
        summary="how much of the rewards of fresh samples a critic explains on the way",
        paper="2510.18072",
        example={"n": 100},
        within="ac-flow-blank",
    )
    for name, summary in (
        ("ac-flow-gaussians", "eight Gaussians drawn to one side, and held from leaving the data"),
        (
            "ac-flow-rotamers",
            "torsions of hexane, taught by a force field (needs flowloom-molecules, -geometries)",
        ),
        ("ac-flow-sd3", "a network as large as SD3 medium (needs flowloom-images)"),
        ("ac-flow-blank", "the same of an untrained network: what a reward alone makes"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2510.18072")
