"""Bellman-optimal step sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "solver",
        "bellman-euler",
        "flowloom_fewstep.bellman:BellmanEuler",
        summary="Euler on the grid whose local errors sum to least on a teacher's trajectories",
        example={"steps": 4, "fine": 200, "samples": 16},
        paper="2312.16414",
    )
    reg.add(
        "objective",
        "bellman-straightening",
        "flowloom_fewstep.bellman_straightening:BellmanStraightening",
        summary="chords of a teacher's trajectories from knot to knot, at the knots alone",
        paper="2312.16414",
        within="bellman-checkerboard",
    )
    reg.recipe(
        "bellman-ring",
        "flowloom_fewstep:recipes/bellman-ring.yaml",
        summary="eight Gaussians on a diffusion's path: the best four Euler steps, no second training",
        paper="2312.16414",
    )
    for name, summary in (
        ("bellman-checkerboard", "a flow of the checkerboard in two steps, straightened between its knots"),
        ("bellman-checkerboard-reflow", "reflow with the same trajectories and updates beside it"),
    ):
        reg.recipe(name, f"flowloom_fewstep:recipes/{name}.yaml", summary=summary, paper="2312.16414")
    reg.recipe(
        "cifar10-bellman",
        "flowloom_fewstep:recipes/cifar10-bellman.yaml",
        summary="steps of a flow on CIFAR-10 at the paper's size (needs flowloom-images)",
        paper="2312.16414",
    )
