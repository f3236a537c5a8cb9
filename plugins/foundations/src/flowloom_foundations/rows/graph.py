"""Graph flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    recipes, paper = "flowloom_foundations:recipes", "2505.24434"
    reg.add(
        "model",
        "neighbour-aware",
        "flowloom_foundations.graph:NeighbourAware",
        summary="any network, and a light graph over the rows of a batch",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}, "width": 8},
        paper=paper,
        known_failures={
            "check_every_parameter_learns": "each row asked has a time of its own, and so no neighbour"
        },
    )
    reg.add(
        "times",
        "shared",
        "flowloom_foundations.graph:SharedTimes",
        summary="one time for several rows of a batch",
        paper=paper,
    )
    for name, summary in (
        ("graph-fm", "flow matching on digits whose rows see each other"),
        ("graph-fm-latents", "DiT-B/2 with a graph over latents of 256-pixel images"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper=paper)
    reg.recipe("graph-fm-baseline", f"{recipes}/graph-fm-baseline.yaml", summary="the reaction alone")
