"""Data and metrics that several methods are shown on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_foundations.data"
    reg.add(
        "dataset",
        "scattered-classes",
        f"{home}:ScatteredClasses",
        summary="ten diagonal Gaussians far apart in 16 dimensions, with their class",
        example={"n": 200},
    )
    reg.add(
        "dataset",
        "overlapping-classes",
        f"{home}:OverlappingClasses",
        summary="eight planar Gaussians over their neighbours, with their class",
        example={"n": 200},
    )
    reg.add(
        "metric",
        "class-sliced-wasserstein",
        "flowloom_foundations.metrics:WithinClasses",
        summary="sliced Wasserstein distance class by class",
        example={"projections": 16},
        data="scattered-classes",
    )
    reg.add(
        "metric",
        "bayes-accuracy",
        "flowloom_foundations.metrics:BayesAccuracy",
        summary="share of samples that the true law takes for the class asked for",
        example={"data": {"use": "overlapping-classes", "n": 200}},
        data="overlapping-classes",
    )
    reg.add(
        "metric",
        "novelty",
        "flowloom_foundations.metrics:Novelty",
        summary="how far samples are from training examples, as real data are",
        data="scattered-classes",
        known_failures={"check_real_beats_noise": "noise is new as well"},
    )
