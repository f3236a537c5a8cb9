"""Equilibrium matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes, paper = "flowloom_foundations.equilibrium", "flowloom_foundations:recipes", "2510.02300"
    reg.add(
        "dataset",
        "eight-modes",
        "flowloom_foundations.data:EightModes",
        summary="eight Gaussians in the plane, without labels",
        example={"n": 200},
    )
    reg.kind(
        "magnitude",
        contract=f"{home}:Magnitude",
        meaning="how steep a landscape is between noise and data, 0 at the data",
        laws=f"{home}.laws",
    )
    for name, summary in (
        ("linear", "falls linearly to 0 at the data"),
        ("truncated", "level, then linear down to 0 at the data"),
        ("piecewise", "linear to one value, then linear down to 0 at the data"),
    ):
        reg.add("magnitude", name, f"{home}:{name.capitalize()}", summary=summary, paper=paper)
    reg.add(
        "objective",
        "equilibrium",
        f"{home}:EquilibriumMatching",
        summary="one landscape for all noise levels, whose valleys are the data",
        paper=paper,
        known_failures={"check_times_follow_the_law": "its network is never told the time"},
    )
    reg.add(
        "solver",
        "gradient-descent",
        f"{home}:GradientDescent",
        summary="descends a landscape; every sample may stop by itself",
        example={"steps": 20, "rate": 0.05},
        paper=paper,
    )
    reg.add(
        "solver",
        "nesterov",
        f"{home}:Nesterov",
        summary="descends a landscape, looking ahead",
        example={"steps": 20, "rate": 0.05},
        paper=paper,
    )
    reg.add(
        "model",
        "time-blind",
        f"{home}:TimeBlind",
        summary="any network, never told the time",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}},
        paper=paper,
        known_failures={"check_time_and_state_matter": "it is never told the time"},
    )
    reg.add(
        "score",
        "out-of-distribution",
        f"{home}:OutOfDistribution",
        summary="how well a landscape tells data from points of a box",
        paper=paper,
        within="equilibrium",
    )
    reg.add(
        "guidance",
        "composition",
        f"{home}:Composition",
        summary="adds the gradients of several classes",
        paper=paper,
        within="equilibrium-classes",
    )
    for name, summary in (
        ("equilibrium", "equilibrium matching on eight Gaussians, in seconds"),
        ("equilibrium-energy", "equilibrium matching with an explicit energy (EqM-E)"),
        ("equilibrium-classes", "equilibrium matching with classes and guidance"),
        ("equilibrium-digits", "equilibrium matching on real digits (needs flowloom-images)"),
        ("equilibrium-imagenet", "EqM-XL/2 at the paper's size"),
        ("equilibrium-imagenet-b", "EqM-B/2 at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    for name, summary in (
        ("equilibrium-baseline", "the same network under flow matching"),
        ("equilibrium-blind", "flow matching whose network is not told the time"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)
