"""Fine-tuning by the likelihood of reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "objective",
        "reconstruction",
        f"{home}.reconstruction:Reconstruction",
        summary="what few steps make of encoded data, compared with the data",
        example={"backwards": {"use": "euler", "steps": 4}},
        paper="2510.02081",
        within="eight-gaussians",
    )
    reg.add(
        "model",
        "contractive-residual",
        f"{home}.contractive:ContractiveResidual",
        summary="a frozen flow and a term that draws neighbouring ways together",
        example={"network": {"use": "mlp", "width": 16, "depth": 2}, "width": 16},
        paper="2510.02081",
    )
    reg.add(
        "dataset",
        "two-answers",
        f"{home}.two_answers:TwoAnswers",
        summary="questions with two exact answers in the plane",
        example={"n": 256},
    )
    reg.add(
        "metric",
        "nearest-answer",
        f"{home}.two_answers:NearestAnswer",
        summary="distance to the nearer exact answer, and the balance of both",
        data="two-answers",
        known_failures={"check_real_beats_noise": "noise is balanced between two answers as well"},
    )
    reg.add(
        "score",
        "disturbance",
        f"{home}.disturbance:Disturbance",
        summary="how much a push on the way moves the end",
        example={"n": 50},
    )
    for name, summary in (
        ("reconstruction-answers", "three steps fine-tuned on a task of precision, a minute"),
        ("reconstruction-cifar10", "CIFAR-10 by a U-Net at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2510.02081")
