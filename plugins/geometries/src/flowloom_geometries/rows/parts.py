"""Paths, sources, networks and judges on manifolds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_SIMULATED = "paths on a mesh are simulated in steps, through a search for the closest face"


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "path",
        "premetric",
        "flowloom_geometries.mesh.premetric:PremetricPath",
        summary="flow down a premetric, simulated: for spaces without closed-form geodesics",
        example={"geometry": {"use": "mesh", "file": "icosphere-1", "count": 20}, "steps": 20},
        paper="2302.03660",
        known_failures={
            "check_ends": _SIMULATED,
            "check_velocity_is_the_derivative": _SIMULATED,
            "check_times_per_token": "a mesh point has one time",
        },
    )
    reg.add(
        "source",
        "wrapped-normal",
        "flowloom_geometries.sources:WrappedNormal",
        summary="exp of a normal tangent at the origin, with its density",
        example={"geometry": {"use": "poincare-ball", "dim": 2}},
        paper="1902.02992",
    )
    reg.add(
        "source",
        "kernels",
        "flowloom_geometries.kernels:Kernels",
        summary="kernels of many widths around training rows, weighed by leaving rows out: data on the globe",
        example={"geometry": {"use": "sphere", "dim": 2}, "rows": 64},
        data="von-mises-fisher",
    )
    reg.add(
        "model",
        "refining-mlp",
        "flowloom_geometries.models:RefiningMLP",
        summary="MLP that refines a source of kernels and leaves repeated rows where they are",
        example={"width": 16, "source": {"use": "kernels", "geometry": {"use": "sphere", "dim": 2}}},
        data="von-mises-fisher",
    )
    reg.add(
        "model",
        "grid-mlp",
        "flowloom_geometries.models:GridMLP",
        summary="MLP over a hash grid whose fine levels fade in with t: sharp densities on small spaces",
        example={"width": 16, "levels": 3, "finest": 16, "table": 8},
        paper="2201.05989",
        data="von-mises-fisher",
    )
    reg.add(
        "model",
        "periodic-mlp",
        "flowloom_geometries.models:PeriodicMLP",
        summary="MLP on angles, smooth across the seam",
        example={"width": 16},
        data="wrapped-normals",
    )
    reg.add(
        "renderer",
        "world-map",
        "flowloom_geometries.world_map:WorldMap",
        summary="points of the sphere on a plate carrée map, with densities",
        example={"resolution": 16},
        data="von-mises-fisher",
    )
    reg.add(
        "metric",
        "geodesic-mmd",
        "flowloom_geometries.metrics:GeodesicMMD",
        summary="maximum mean discrepancy with a kernel of geodesic distances",
        example={"geometry": {"use": "sphere", "dim": 2}},
        data="von-mises-fisher",
    )
    reg.add(
        "score",
        "enters-box",
        "flowloom_geometries.crossing:EntersBox",
        summary="share of trajectories that pass through a box: a wall, say",
        example={"low": [-1, -1, -1], "high": [0, 0, 0]},
        data="von-mises-fisher",
    )
