"""What every GFlowNet is made of: environments, a policy, and what walks and judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

WITHIN = "hypergrid-tb"


def register(reg: Registrar) -> None:
    """Add the kind of environments with its section, and the parts that know no method."""
    home = "flowloom_gflownets"
    reg.kind(
        "environment",
        contract=f"{home}.environment:Environment",
        meaning="objects built step by step, with their reward",
        laws=f"{home}.laws",
    )
    reg.section("environment", "environment", meaning="what is built step by step, and its reward")
    reg.add(
        "model",
        "policy-mlp",
        f"{home}.policy:PolicyMLP",
        summary="forward policy, backward policy and state flow, one network",
        example={"environment": {"use": "hypergrid", "side": 5}, "width": 16},
        paper="2201.13259",
        within=WITHIN,
        known_failures={
            name: "a policy answers with actions, and reads no time and no state between tokens"
            for name in ("check_output_shape", "check_time_and_state_matter")
        },
    )
    reg.add("solver", "rollout", f"{home}.solver:Rollout", summary="follow a policy", within=WITHIN)
    reg.add("source", "root", f"{home}.source:Root", summary="where walks start", within=WITHIN)
    reg.add(
        "feed",
        "walks",
        f"{home}.feed:Walks",
        summary="batches of walks to take, no data",
        within=WITHIN,
        known_failures={"check_batches_differ": "every walk starts at the root"},
    )
    reg.add(
        "score",
        "exact-gap",
        f"{home}.score:ExactGap",
        summary="distance to the reward's law and error of log Z, by dynamic programming",
        within=WITHIN,
    )
