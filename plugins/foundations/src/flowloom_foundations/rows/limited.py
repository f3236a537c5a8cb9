"""The theory of flows from few samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.limited", "flowloom_foundations:recipes", "2310.03575"
    reg.add(
        "dataset",
        "two-clusters",
        f"{home}:TwoClusters",
        summary="few points of two clusters in many dimensions",
        example={"n": 40, "dim": 30},
        paper=paper,
    )
    reg.add(
        "model",
        "two-cluster-denoiser",
        f"{home}:TwoClusterDenoiser",
        summary="a tied two-layer denoiser with a skip, fitted exactly at every time",
        example={"steps": 10},
        paper=paper,
        data="two-clusters",
    )
    reg.add(
        "score",
        "centre-error",
        f"{home}:CentreError",
        summary="error of the generated clusters' centre, beside theory and Bayes",
        paper=paper,
        within="limited-samples",
    )
    for name, summary in (
        ("limited-samples", "a flow learned from eight samples in 2,000 dimensions, beside its theory"),
        ("limited-samples-full", "the same from 1,024 samples in 50,000 dimensions"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
