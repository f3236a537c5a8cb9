"""Adversarial flow models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "adversarial-flow",
        "flowloom_fewstep.adversarial_flow:AdversarialFlow",
        summary="a relativistic critic, and a generator held to the cheapest transport",
        example={"critic": {"use": "mlp-critic", "width": 16, "depth": 2}},
        paper="2511.22475",
        within="adversarial-flow-ring",
    )
    reg.add(
        "score",
        "transport-cost",
        "flowloom_fewstep.transport:TransportCost",
        summary="mean squared way from noise to sample, over that of the best pairing",
        example={"n": 64},
        known_failures={
            "check_truth_is_better": "it judges the map, not its law: every optimal map has ratio 1"
        },
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "adversarial-flow-ring",
        f"{home}/adversarial-flow-ring.yaml",
        summary="eight Gaussians in one evaluation by the cheapest transport, two minutes",
        paper="2511.22475",
    )
    reg.recipe(
        "adversarial-flow-ring-any",
        f"{home}/adversarial-flow-ring-any.yaml",
        summary="the same in any number of evaluations",
        paper="2511.22475",
    )
    reg.recipe(
        "imagenet-adversarial-flow-xl-2",
        f"{home}/imagenet-adversarial-flow-xl-2.yaml",
        summary="AFM-XL/2 in one evaluation on ImageNet images, at the paper's size",
        paper="2511.22475",
    )
