"""Wrong geometries."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Euclidean, FlatTorus, Sphere
from flowloom.state import expand

KIND = "geometry"


def sphere(**methods):
    return lambda: type("Twin", (Sphere,), methods)(2)


def scaled_random(self, shape, draw=GLOBAL):
    return 1.01 * Sphere.random(self, shape, draw)


def global_random(self, shape, draw=GLOBAL):
    return Sphere.random(self, shape, Draw(dtype=draw.dtype))


def cube_random(self, shape, draw=GLOBAL):
    return self.project(FlatTorus(1.0).random(shape, draw))


def half_project(self, x):
    return x * (0.5 + 0.5 / x.norm(dim=-1, keepdim=True))


def wrong_tangent(self, x, v):
    return v - 0.9 * (x * v).sum(-1, keepdim=True) * x


def skew_inner(self, x, u, v):
    return (u * v).sum(-1) + 0.1 * (u.roll(1, -1) * v).sum(-1)


class Drifts(Euclidean):
    """Every exp adds a little."""

    def exp(self, x, v):
        return x + v + 1e-3


def long_exp(self, x, v):
    near = v.norm(dim=-1, keepdim=True) < 1e-2
    return torch.where(near, Sphere.exp(self, x, v), x + v)


class ShortLog(Euclidean):
    """The log of a metric that is not that of exp."""

    def log(self, x, y):
        return 0.99 * (y - x)

    def distance_point(self, x, y):
        return 0.99 * (y - x).abs()

    def geodesic(self, x0, x1, t):
        v = 0.99 * (x1 - x0)
        return x0 + expand(t, x0) * (x1 - x0), v


def coarse_log(self, x, y):
    """geoopt's: the angle by a clamped arccosine, wrong by a factor for near points in float32."""
    cos = (x * y).sum(-1, keepdim=True).clamp(-1 + 1e-7, 1 - 1e-7)
    u = self.to_tangent(x, y - x)
    return u * (cos.acos() / u.norm(dim=-1, keepdim=True).clamp_min(1e-12))


def untangent_log(self, x, y):
    return Sphere.log(self, x, y) + 1e-6 * x


def arccos_distance(self, x, y):
    return (x * y).sum(-1).clamp(-1, 1).acos()


class Doubled(Euclidean):
    def distance_point(self, x, y):
        return 1.01 * (y - x).abs()


class Lopsided(Euclidean):
    def distance_point(self, x, y):
        return torch.where(y > x, y - x, 2 * (x - y))


class Unrolled(FlatTorus):
    """A torus that forgets its seam everywhere but in exp: every pair of points in the chart looks right."""

    def log(self, x, y):
        return y - x

    def distance_point(self, x, y):
        return (y - x).abs()

    def geodesic(self, x0, x1, t):
        v = x1 - x0
        return x0 + expand(t, x0) * v, v


def chord_rounded(self, x, y):
    """Distances below 2e-3 are cut to one digit."""
    d = Sphere.distance_point(self, x, y)
    near = (d > 5e-4) & (d < 2e-3)
    return torch.where(near & (x.dtype == torch.float32), d * 1.1, d)


def unrolled_log(self, x, y):
    """The right vector, its length kept out of the graph, as iterative solvers do."""
    v = Sphere.log(self, x, y)
    near = (y - x).square().sum(-1, keepdim=True) < 1e-12
    length = v.norm(dim=-1, keepdim=True)
    return torch.where(near, v, v / length * length.detach())


class Deaf(Sphere):
    """A projection without a derivative, as lookups have: every likelihood is that of the source."""

    def project(self, x):
        return super().project(x.detach())


class CalledFlat(Sphere):
    """Says that steps are sums, and leaves the sphere."""

    straight = True


class NaNGradient(Euclidean):
    """The root of a square: right values, and 0/0 in the gradient at 0."""

    def distance(self, x, y):
        return (y - x).square().flatten(1).sum(1).sqrt()


def polar_log(self, x, y):
    """Angle times unit direction: right values, and a derivative that vanishes where they coincide."""
    cos = (x * y).sum(-1, keepdim=True)
    toward = self.to_tangent(x, torch.where(cos < 0, y + x, y - x))
    squared = toward.square().sum(-1, keepdim=True)
    positive = squared > 0
    sin = torch.where(positive, squared, 1).sqrt() * positive
    axis = self.to_tangent(x, torch.eye(3, dtype=x.dtype)[x.abs().argmin(-1)])
    aside = axis / axis.norm(dim=-1, keepdim=True)
    lost = (cos < 0) & (squared <= 16 * torch.finfo(x.dtype).eps ** 2)
    direction = torch.where(lost, aside, toward / torch.where(positive, sin, 1))
    return torch.atan2(sin, cos) * direction


class Misses(Euclidean):
    def geodesic(self, x0, x1, t):
        s = expand(t, x0)
        return x0 + s * (x1 - x0) + s * (x1 - x0).sign() * 1e-2, x1 - x0 + (x1 - x0).sign() * 1e-2


class Accelerates(Euclidean):
    def geodesic(self, x0, x1, t):
        s = expand(t, x0)
        return x0 + s**2 * (x1 - x0), 2 * s * (x1 - x0)


class WrongVelocity(Euclidean):
    """The right speed in the wrong direction."""

    def geodesic(self, x0, x1, t):
        v = x1 - x0
        return x0 + expand(t, x0) * v, -v


class SeesBatch(Euclidean):
    def project(self, x):
        return x - 1e-6 * (x - x.mean(0)) / (1 + x.var(0, correction=0)) if len(x) > 1 else x


def forgets_power(self, x, y):
    d = self.distance_point(x, y)
    return d if d.ndim == 1 else d.flatten(1).sum(1)


def multiplied_tangent(self, x, v):
    along = (v.unsqueeze(-2) @ x.unsqueeze(-1)).squeeze(-1)
    return v - along * x


class Upcasts(Euclidean):
    def log(self, x, y):
        return (y - x).double() if x.dtype == torch.float32 else y - x


def nan_antipodes(self, x, y):
    log = Sphere.log(self, x, y)
    return torch.where(log.norm(dim=-1, keepdim=True) > math.pi - 1e-5, torch.nan, log)


class AcceptsAll(Euclidean):
    def require(self, x, atol=None, name="x"):
        return None


class Weighted(Euclidean):
    """Twice the metric away from the origin, without saying so in log_sqrt_det: a chart that lies."""

    point_ndim = 1
    dim = 3

    def inner_point(self, x, u, v):
        return (1 + x.square().sum(-1)) * (u * v).sum(-1)


def peeking_log(self, x, y):
    return Sphere.log(self, x, y) + 0 * x[0]


TWINS = {
    "check_no_rows": (sphere(log=peeking_log), ()),
    "check_random_is_on_the_manifold": (
        sphere(random=scaled_random),
        (
            "check_project_is_idempotent",
            "check_to_tangent_is_a_projection",
            "check_exp_stays_on_the_manifold",
            "check_exp_inverts_log",
            "check_log_inverts_exp",
            "check_log_is_tangent",
            "check_distance_is_length_of_log",
            "check_derivatives_at_coincident_points",
            "check_geodesic_ends",
            "check_geodesic_has_constant_speed",
            "check_geodesic_velocity_is_the_derivative",
            "check_powers",
            "check_far_points_are_finite",
            "check_require_refuses",
            "check_distance_is_at_most_the_way",
            "check_divergence",
            "check_solvers_follow",
        ),
    ),
    "check_random_follows_its_generator": (sphere(random=global_random), ()),
    "check_random_is_uniform": (sphere(random=cube_random), ()),
    "check_project_is_idempotent": (
        sphere(project=half_project, random=lambda self, s, draw: Sphere(2).random(s, draw)),
        ("check_divergence",),
    ),
    "check_to_tangent_is_a_projection": (
        sphere(to_tangent=wrong_tangent),
        ("check_derivatives_at_coincident_points", "check_distance_is_at_most_the_way"),
    ),
    "check_inner_is_a_metric": (
        sphere(inner_point=skew_inner),
        (
            "check_distance_is_length_of_log",
            "check_geodesic_has_constant_speed",
            "check_powers",
            "check_distance_is_at_most_the_way",
        ),
    ),
    "check_exp_of_zero": (
        Drifts,
        (
            "check_exp_inverts_log",
            "check_log_inverts_exp",
            "check_far_points_are_finite",
            "check_distance_is_at_most_the_way",
            "check_solvers_follow",
        ),
    ),
    "check_exp_stays_on_the_manifold": (
        sphere(exp=long_exp),
        (
            "check_exp_inverts_log",
            "check_log_inverts_exp",
            "check_far_points_are_finite",
            "check_solvers_follow",
        ),
    ),
    "check_exp_inverts_log": (
        ShortLog,
        (
            "check_log_inverts_exp",
            "check_derivatives_at_coincident_points",
            "check_far_points_are_finite",
            "check_divergence",
            "check_solvers_follow",
        ),
    ),
    "check_log_inverts_exp": (
        sphere(log=coarse_log),
        (
            "check_exp_inverts_log",
            "check_near_points_keep_accuracy",
            "check_derivatives_at_coincident_points",
            "check_geodesic_velocity_is_the_derivative",
            "check_far_points_are_finite",
            "check_divergence",
        ),
    ),
    "check_log_is_tangent": (
        sphere(log=untangent_log),
        ("check_exp_stays_on_the_manifold", "check_exp_inverts_log", "check_log_inverts_exp"),
    ),
    "check_distance_to_itself": (
        sphere(distance_point=arccos_distance),
        (
            "check_project_is_idempotent",
            "check_exp_of_zero",
            "check_exp_inverts_log",
            "check_near_points_keep_accuracy",
            "check_gradients_at_coincident_points",
            "check_geodesic_ends",
        ),
    ),
    "check_distance_is_length_of_log": (
        Doubled,
        ("check_geodesic_has_constant_speed", "check_powers", "check_distance_is_at_most_the_way"),
    ),
    "check_distance_is_a_metric": (
        Lopsided,
        (
            "check_distance_is_length_of_log",
            "check_near_points_keep_accuracy",
            "check_geodesic_has_constant_speed",
            "check_powers",
            "check_distance_is_at_most_the_way",
        ),
    ),
    "check_distance_is_at_most_the_way": (Unrolled, ()),
    "check_near_points_keep_accuracy": (sphere(distance_point=chord_rounded), ()),
    "check_gradients_at_coincident_points": (NaNGradient, ("check_powers",)),
    "check_derivatives_at_coincident_points": (sphere(log=polar_log), ()),
    "check_divergence": (Deaf, ()),
    "check_solvers_follow": (CalledFlat, ()),
    "check_derivative_of_log": (sphere(log=unrolled_log), ("check_divergence",)),
    "check_geodesic_ends": (Misses, ("check_geodesic_has_constant_speed",)),
    "check_geodesic_has_constant_speed": (Accelerates, ("check_derivatives_at_coincident_points",)),
    "check_geodesic_velocity_is_the_derivative": (WrongVelocity, ()),
    "check_batch_equals_loop": (SeesBatch, ("check_project_is_idempotent",)),
    "check_powers": (sphere(distance=forgets_power), ()),
    "check_dtype_is_kept": (Upcasts, ()),
    "check_autocast_rounds_nothing": (sphere(to_tangent=multiplied_tangent), ()),
    "check_far_points_are_finite": (sphere(log=nan_antipodes), ()),
    "check_require_refuses": (AcceptsAll, ()),
    "check_volume_density": (
        Weighted,
        (
            "check_distance_is_length_of_log",
            "check_near_points_keep_accuracy",
            "check_geodesic_has_constant_speed",
            "check_powers",
        ),
    ),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
