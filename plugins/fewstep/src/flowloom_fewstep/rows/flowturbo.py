"""FlowTurbo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "objective",
        "velocity-refiner",
        f"{home}.velocity_refiner:VelocityRefiner",
        summary="a small network learns by how much a teacher's velocity changes",
        paper="2409.18128",
        within="eight-gaussians",
    )
    reg.add(
        "solver",
        "flowturbo",
        f"{home}.flowturbo:FlowTurbo",
        summary="Heun, a corrector that remembers, and a refiner of the last velocity",
        example={"heun": 1, "pseudo": 2, "refine": 0},
        paper="2409.18128",
    )
    for name, summary in (
        ("flowturbo-checkerboard", "seven evaluations and a refiner in the plane, half a minute"),
        ("flowturbo-digits", "a small refiner beside a large network of digits (needs flowloom-images)"),
        ("imagenet-flowturbo-xl-2", "a block of a DiT refines SiT-XL/2, at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2409.18128")
