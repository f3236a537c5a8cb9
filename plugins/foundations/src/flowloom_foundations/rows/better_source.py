"""Better sources than a Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.better_source", "flowloom_foundations:recipes", "2512.18184"
    for name, target, summary in (
        ("chi-sphere", "ChiSphere", "any direction, and the radius of a Gaussian of many dimensions"),
        ("norm-aligned", "NormAligned", "another source, scaled to the mean length of the data"),
        ("pruned", "Pruned", "another source without the directions of no data; for trained networks"),
    ):
        reg.add("source", name, f"{home}:{target}", summary=summary, paper=paper)
    reg.add(
        "dataset",
        "chi-arcs",
        f"{home}:ChiArcs",
        summary="three arcs of unequal weight inside the circle of the noise",
        example={"n": 200},
        paper=paper,
    )
    reg.add(
        "metric",
        "nearest-data",
        f"{home}:NearestData",
        summary="distance of samples to training examples, and the share of failures",
        data="chi-arcs",
        paper=paper,
    )
    for name, summary in (
        (
            "better-source-pruned",
            "three arcs from noise whose empty directions are pruned, network as it was",
        ),
        ("better-source-aligned", "three arcs from noise as long as the data"),
        ("better-source-cifar10", "CIFAR-10 from aligned noise, then pruned, at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    reg.recipe(
        "better-source-baseline",
        f"{recipes}/better-source-baseline.yaml",
        summary="the same network from the whole of the plain source",
    )
