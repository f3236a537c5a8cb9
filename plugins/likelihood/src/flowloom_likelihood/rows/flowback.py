"""Reverse representation alignment of flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME, PAPER = "flowloom_likelihood.flowback", "2511.22345"


def register(reg: Registrar) -> None:
    """Add the objective, the score and recipes."""
    reg.add(
        "objective",
        "aligned-likelihood",
        f"{HOME}:AlignedLikelihood",
        summary="likelihood, with features aligned along the way from noise to data (R-REPA)",
        example={"module": "", "dim": 1, "width": 48, "blocks": [-1], "layer": 1, "hidden": 8},
        paper=PAPER,
        within="digits-starflow",
    )
    reg.add(
        "score",
        "flow-classifier",
        f"{HOME}:FlowClassifier",
        summary="accuracy of a conditional flow as a classifier: by one gradient, and by Bayes' rule",
        paper=PAPER,
        within="digits-starflow",
    )
    for name, summary in (
        ("digits-flowback", "reverse alignment of a small TARFlow on real digits"),
        ("imagenet-flowback", "reverse alignment of TARFlow on ImageNet-64 at the paper's size"),
    ):
        reg.recipe(name, f"flowloom_likelihood:recipes/{name}.yaml", summary=summary, paper=PAPER)
