"""The rows of the fewstep plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add methods of one or a few evaluations, and their recipes."""
    _meanflow(reg)
    _adversarial_flow(reg)


def _meanflow(reg: Registrar) -> None:
    reg.add(
        "objective",
        "meanflow",
        "flowloom_fewstep.meanflow:MeanFlow",
        summary="average velocity between two times, for one evaluation; on manifolds too",
        example={"distinct": 0.5, "condition_dropout": 0.1},
        paper="2505.13447",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "meanflow-checkerboard",
        f"{home}/meanflow-checkerboard.yaml",
        summary="average velocities in the plane, one evaluation, half a minute",
        paper="2505.13447",
    )
    reg.recipe(
        "meanflow-digits",
        f"{home}/meanflow-digits.yaml",
        summary="real digits in one evaluation each, minutes on CPU",
        paper="2505.13447",
    )
    reg.recipe(
        "meanflow-sphere",
        f"{home}/meanflow-sphere.yaml",
        summary="clusters on the sphere in one evaluation each",
        paper="2510.21608",
    )
    reg.recipe(
        "imagenet-meanflow-xl-2",
        f"{home}/imagenet-meanflow-xl-2.yaml",
        summary="MeanFlow-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2505.13447",
    )


def _adversarial_flow(reg: Registrar) -> None:
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
        "critic",
        "mlp-critic",
        "flowloom_fewstep.mlp_critic:MLPCritic",
        summary="a multilayer perceptron on the flattened state",
        example={"width": 16},
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
