"""Trajectory balance, detailed balance and flow matching on hypergrids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

WITHIN = "hypergrid-tb"


def register(reg: Registrar) -> None:
    """Add them, with the environment and the heat maps they are shown on."""
    home, recipes = "flowloom_gflownets", "flowloom_gflownets:recipes"
    reg.add(
        "environment",
        "hypergrid",
        f"{home}.environment:Hypergrid",
        summary="a grid with reward near its corners",
        example={"side": 5},
        paper="2106.04399",
    )
    losses = (
        ("trajectory-balance", "TrajectoryBalance", "tb", "2201.13259", "one residual for a whole walk"),
        ("detailed-balance", "DetailedBalance", "db", "2111.09266", "one residual for every transition"),
        ("gfn-flow-matching", "GFNFlowMatching", "fm", "2106.04399", "one residual for every state"),
    )
    for name, target, short, paper, summary in losses:
        reg.add(
            "objective",
            name,
            f"{home}.objectives:{target}",
            summary=summary,
            paper=paper,
            within=WITHIN,
            known_failures={
                "check_exact_answers_have_no_loss": "a walk is no point of a path, and has no target",
                "check_field_is_of_its_kind": "log probabilities of actions that are not allowed are -inf",
            },
        )
        reg.recipe(
            f"hypergrid-{short}",
            f"{recipes}/hypergrid-{short}.yaml",
            summary=f"{name} on a 16 x 16 grid, without data",
            paper=paper,
        )
    reg.recipe(
        "hypergrid-tb-full",
        f"{recipes}/hypergrid-tb-full.yaml",
        summary="trajectory balance on the 8^4 grid at the paper's size",
        paper="2201.13259",
    )
    reg.add(
        "renderer",
        "grid-heat",
        f"{home}.renderer:GridHeat",
        summary="heat maps of samples, the policy's law and the reward",
        known_failures={
            name: "it shows points of a grid, and the law's data are points in the plane"
            for name in ("check_samples", "check_trajectory", "check_odd_states", "check_is_deterministic")
        },
    )
