"""Reflected flow matching, and what flows on bounded sets are shown on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_geometries.bounded", "flowloom_geometries:recipes", "2405.16577"
    reg.add(
        "dataset",
        "walled-patches",
        f"{home}:WalledPatches",
        summary="three uniform patches against the walls of a square, with their index",
        example={"n": 200},
        paper=paper,
    )
    for name, target, summary in (
        ("reflected-euler", "ReflectedEuler", "Euler steps, mirrored back where they leave a convex set"),
        ("reflected-heun", "ReflectedHeun", "Heun steps, mirrored back where they leave a convex set"),
    ):
        reg.add("solver", name, f"{home}:{target}", summary=summary, paper=paper)
    reg.add(
        "source",
        "truncated-gaussian",
        f"{home}:TruncatedGaussian",
        summary="a Gaussian, given that it lies in the box",
        example={"geometry": "box"},
        paper=paper,
    )
    reg.add(
        "codec",
        "nearest-inside",
        f"{home}:NearestInside",
        summary="clips samples to a set when all is done",
        example={"domain": "box"},
        data="walled-patches",
    )
    reg.add(
        "metric",
        "feasibility",
        f"{home}:Feasibility",
        summary="shares of samples outside a set, and exactly on its walls",
        example={"domain": "box"},
        data="walled-patches",
        known_failures={"check_real_beats_noise": "noise seldom lies exactly on a wall either"},
    )
    for name, summary in (
        ("reflected", "reflected flow matching on patches against the walls of a square"),
        ("reflected-imagenet64", "the ADM network in the cube of pixels, at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    reg.recipe(
        "reflected-baseline",
        f"{recipes}/reflected-baseline.yaml",
        summary="the same network from a Gaussian, with no walls",
    )
