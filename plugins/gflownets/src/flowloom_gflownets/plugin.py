"""The rows of the GFlowNets plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME = "flowloom_gflownets"
WITHIN = "hypergrid-tb"


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add environments, the policy network, three losses, the solver, the judge and recipes."""
    reg.kind(
        "environment",
        contract=f"{HOME}.environment:Environment",
        meaning="objects built step by step, with their reward",
        laws=f"{HOME}.laws",
    )
    reg.section("environment", "environment", meaning="what is built step by step, and its reward")
    reg.add(
        "environment",
        "hypergrid",
        f"{HOME}.environment:Hypergrid",
        summary="a grid with reward near its corners",
        example={"side": 5},
        paper="2106.04399",
    )
    reg.add(
        "model",
        "policy-mlp",
        f"{HOME}.policy:PolicyMLP",
        summary="forward policy, backward policy and state flow, one network",
        example={"environment": {"use": "hypergrid", "side": 5}, "width": 16},
        paper="2201.13259",
        within=WITHIN,
        known_failures={
            name: "a policy answers with actions, and reads no time and no state between tokens"
            for name in ("check_output_shape", "check_time_and_state_matter", "check_jvp")
        },
    )
    _losses(reg)
    reg.add("solver", "rollout", f"{HOME}.solver:Rollout", summary="follow a policy", within=WITHIN)
    reg.add("source", "root", f"{HOME}.source:Root", summary="where walks start", within=WITHIN)
    reg.add(
        "feed",
        "walks",
        f"{HOME}.feed:Walks",
        summary="batches of walks to take, no data",
        within=WITHIN,
        known_failures={"check_batches_differ": "every walk starts at the root"},
    )
    reg.add(
        "score",
        "exact-gap",
        f"{HOME}.score:ExactGap",
        summary="distance to the reward's law and error of log Z, by dynamic programming",
        within=WITHIN,
    )
    reg.add(
        "renderer",
        "grid-heat",
        f"{HOME}.renderer:GridHeat",
        summary="heat maps of samples, the policy's law and the reward",
        known_failures={
            name: "it shows points of a grid, and the law's data are points in the plane"
            for name in ("check_samples", "check_trajectory", "check_odd_states", "check_is_deterministic")
        },
    )


def _losses(reg: Registrar) -> None:
    home = f"{HOME}:recipes"
    losses = (
        ("trajectory-balance", "TrajectoryBalance", "tb", "2201.13259", "one residual for a whole walk"),
        ("detailed-balance", "DetailedBalance", "db", "2111.09266", "one residual for every transition"),
        ("gfn-flow-matching", "GFNFlowMatching", "fm", "2106.04399", "one residual for every state"),
    )
    for name, target, short, paper, summary in losses:
        reg.add(
            "objective",
            name,
            f"{HOME}.objectives:{target}",
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
            f"{home}/hypergrid-{short}.yaml",
            summary=f"{name} on a 16 x 16 grid, without data",
            paper=paper,
        )
    reg.recipe(
        "hypergrid-tb-full",
        f"{home}/hypergrid-tb-full.yaml",
        summary="trajectory balance on the 8^4 grid at the paper's size",
        paper="2201.13259",
    )
