"""Judges of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_images.metrics"
    quick = {"judge_steps": 10}
    reg.add(
        "metric",
        "image-quality",
        f"{home}:ImageQuality",
        summary="Fréchet distance, precision, recall and class accuracy by one small classifier",
        example=quick,
        data="digits",
    )
    reg.add(
        "metric",
        "classifier-frechet",
        f"{home}:ClassifierFrechet",
        summary="Fréchet distance in the features of a classifier trained on the real data",
        example=quick,
        paper="1706.08500",
        data="digits",
    )
    reg.add(
        "metric",
        "precision-recall",
        f"{home}:PrecisionRecall",
        summary="precision and recall by nearest-neighbour manifolds in those features",
        example=quick,
        paper="1904.06991",
        data="digits",
    )
    reg.add(
        "metric",
        "class-accuracy",
        f"{home}:ClassAccuracy",
        summary="share of conditional samples that a classifier takes for their class",
        example=quick,
        data="digits",
    )
