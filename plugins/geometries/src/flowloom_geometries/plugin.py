"""The rows of the geometries plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

_SIMULATED = "paths on a mesh are simulated in steps, through a search for the closest face"
_NO_CLOSED_FORM = dict.fromkeys(
    (
        "check_exp_inverts_log",
        "check_log_inverts_exp",
        "check_derivatives_at_coincident_points",
        "check_geodesic_ends",
        "check_geodesic_has_constant_speed",
        "check_geodesic_velocity_is_the_derivative",
        "check_far_points_are_finite",
    ),
    "a mesh has no closed-form geodesics: log points down a spectral distance; use path: premetric",
)


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add manifolds, the premetric path, data on manifolds, a sharp network, a metric and recipes."""
    _spaces(reg)
    _data(reg)
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
    _recipes(reg)
    reg.gather("flowloom_geometries.rows")


def _spaces(reg: Registrar) -> None:
    home = "flowloom_geometries.spaces"
    reg.add("geometry", "so3", f"{home}:SO3", summary="rotation matrices; distance is the angle")
    reg.add("geometry", "se3", f"{home}:SE3", summary="rigid motions: SO(3) times R^3")
    reg.add(
        "geometry",
        "poincare-ball",
        f"{home}:PoincareBall",
        summary="hyperbolic space as a ball",
        example={"dim": 2},
    )
    reg.add(
        "geometry",
        "lorentz",
        f"{home}:Lorentz",
        summary="hyperbolic space as a hyperboloid",
        example={"dim": 2},
    )
    reg.add(
        "geometry",
        "simplex",
        f"{home}:Simplex",
        summary="probability vectors with the Fisher-Rao metric",
        example={"categories": 3},
        paper="2405.14664",
    )
    reg.add(
        "geometry",
        "spd",
        f"{home}:SPD",
        summary="positive matrices, affine-invariant metric",
        example={"size": 2},
    )
    reg.add(
        "geometry",
        "log-euclidean",
        f"{home}:LogEuclideanSPD",
        summary="positive matrices, log-Euclidean metric",
        example={"size": 2},
    )
    reg.add(
        "geometry",
        "stiefel",
        f"{home}:Stiefel",
        summary="orthonormal columns, by geoopt",
        example={"rows": 3, "columns": 2},
        known_failures={"check_far_points_are_finite": "opposite frames are beyond the injectivity radius"},
    )
    reg.add(
        "geometry",
        "geoopt",
        f"{home}:GeooptGeometry",
        summary="any geoopt manifold by name",
        example={"manifold": "PoincareBall"},
        known_failures=dict.fromkeys(
            ("check_derivatives_at_coincident_points", "check_gradients_at_coincident_points"),
            "geoopt clamps the Moebius difference away from 0",
        ),
    )
    reg.add(
        "geometry",
        "polytope",
        f"{home}:Polytope",
        summary="a bounded set A x <= b",
        example={"normals": [[-1, 0], [0, -1], [1, 1]], "offsets": [0, 0, 1]},
    )
    reg.add(
        "geometry",
        "mesh",
        "flowloom_geometries.mesh:MeshSurface",
        summary="a triangle mesh with spectral distances",
        example={"file": "icosphere-1", "count": 20},
        paper="2302.03660",
        known_failures=_NO_CLOSED_FORM,
    )


def _data(reg: Registrar) -> None:
    home = "flowloom_geometries.data"
    reg.add(
        "dataset",
        "earth",
        f"{home}:Earth",
        summary="volcanoes, earthquakes, floods and fires on the globe",
        example={"event": "volcano"},
        tags=("files",),
        paper="2006.10605",
    )
    reg.add(
        "dataset",
        "von-mises-fisher",
        f"{home}:VonMisesFisherMixture",
        summary="clusters on the sphere, of known density",
        example={"n": 256},
    )
    reg.add(
        "dataset",
        "wrapped-normals",
        f"{home}:WrappedNormalMixture",
        summary="clusters on the torus across its seam, of known density",
        example={"n": 256},
    )
    reg.add(
        "dataset",
        "box",
        f"{home}:Box",
        summary="uniform points of a box",
        example={"low": [0, 0], "high": [1, 2], "n": 256},
    )
    reg.add(
        "dataset",
        "mesh-function",
        f"{home}:MeshEigenfunction",
        summary="points of a mesh where an eigenfunction is large",
        example={"geometry": {"use": "mesh", "file": "icosphere-1", "count": 20}, "n": 64, "index": 5},
        paper="2302.03660",
    )


def _recipes(reg: Registrar) -> None:
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
