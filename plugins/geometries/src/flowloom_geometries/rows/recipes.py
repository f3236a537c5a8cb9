"""Recipes on manifolds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    for event in ("volcano", "earthquake", "flood", "fire"):
        reg.recipe(
            f"earth-{event}",
            f"flowloom_geometries:recipes/earth-{event}.yaml",
            summary=f"Riemannian flow matching on the globe: {event}",
            paper="2302.03660",
        )
    reg.recipe(
        "sphere-clusters",
        "flowloom_geometries:recipes/sphere-clusters.yaml",
        summary="clusters on the sphere in a minute",
        paper="2302.03660",
    )
    reg.recipe(
        "torus-seam",
        "flowloom_geometries:recipes/torus-seam.yaml",
        summary="clusters on the torus that cross its seam, in a minute",
        paper="2302.03660",
    )
    reg.recipe(
        "mesh-eigenfunction",
        "flowloom_geometries:recipes/mesh-eigenfunction.yaml",
        summary="flow on a triangle mesh along spectral distances",
        paper="2302.03660",
    )
    reg.recipe(
        "walled-square",
        "flowloom_geometries:recipes/walled-square.yaml",
        summary="from room to room, round a wall, on a mesh",
        paper="2302.03660",
    )
