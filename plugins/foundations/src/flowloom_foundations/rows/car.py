"""Condition-aware reparameterisation (CAR-Flow)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_foundations.car", "flowloom_foundations:recipes"
    reg.add(
        "model",
        "condition-aware",
        f"{home}:ConditionAware",
        summary="any network of velocities, between ends that a learned shift moves by condition",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}, "width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "source",
        "shifted-gaussian",
        f"{home}:ShiftedGaussian",
        summary="a Gaussian whose mean follows the condition, learned with the flow",
        example={"width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "score",
        "path-length",
        f"{home}:PathLength",
        summary="mean length of the paths between the ends that the network sees",
        paper="2509.19300",
        known_failures={"check_truth_is_better": "it measures paths, not how well they end"},
        data="scattered-classes",
    )
    reg.recipe(
        "car-flow",
        f"{recipes}/car-flow.yaml",
        summary="CAR-Flow on ten classes far apart, in seconds",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-baseline",
        f"{recipes}/car-flow-baseline.yaml",
        summary="the same network without shifts",
    )
    reg.recipe(
        "car-flow-source",
        f"{recipes}/car-flow-source.yaml",
        summary="the source alone learned, as a source",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-imagenet",
        f"{recipes}/car-flow-imagenet.yaml",
        summary="SiT-XL/2 with joint CAR-Flow at the paper's size",
        paper="2509.19300",
    )
