"""Manifolds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

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


def register(reg: Registrar) -> None:
    """Add them."""
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
        tags=("heavy",),
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
