"""Geometries on drawn points: far away, in other precisions, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowloom.draw import Draw
from flowloom.geometry import Geometry
from flowloom.state import leaves, map_state, take, with_batch
from flowloom.testing.laws import Context, NotApplicable
from flowloom.testing.states import all_finite, cast, event_shape, gap, noise_like, scaled

SEEDS = st.integers(0, 10_000)
KIND = "geometry"


def points(geometry: Geometry, seed: int, n: int, dtype: torch.dtype = torch.float64) -> Any:
    try:
        shape = with_batch(event_shape(geometry, Context(seed=seed)), n)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    return geometry.random(shape, Draw(torch.Generator().manual_seed(seed), dtype=dtype))


def continuous(build: Any, row: Any) -> Geometry:
    geometry: Geometry = build(row)
    if not geometry.continuous:
        pytest.skip("tokens neither scale nor move")
    return geometry


def test_projection_of_ambient_points_of_any_size_is_on_the_manifold_and_stays(build: Any, row: Any) -> None:
    geometry = continuous(build, row)

    @given(seed=SEEDS, power=st.integers(-12, 12), dtype=st.sampled_from([torch.float32, torch.float64]))
    def holds(seed: int, power: int, dtype: torch.dtype) -> None:
        x = points(geometry, seed, 5, dtype)
        ambient = scaled(noise_like(x, torch.Generator().manual_seed(seed + 1)), 10.0**power)
        once = geometry.project(ambient)
        assert all_finite(once)
        size = 1 + max(float(leaf.abs().max()) for _, leaf in leaves(once))
        tolerance = (2e-3 if dtype == torch.float32 else 1e-6) * size
        assert float(geometry.violation(once).max()) <= tolerance
        assert gap(geometry.project(once), once) <= tolerance
        assert all(leaf.dtype == dtype for _, leaf in leaves(once))

    holds()


def test_a_row_alone_is_as_in_its_batch(build: Any, row: Any) -> None:
    geometry = continuous(build, row)

    @given(seed=SEEDS, n=st.integers(1, 6))
    def holds(seed: int, n: int) -> None:
        x, y = points(geometry, seed, n), points(geometry, seed + 1, n)
        i = torch.tensor([n - 1])
        a, b = take(x, i), take(y, i)
        whole = {"log": geometry.log(x, y), "distance": geometry.distance(x, y)}
        alone = {"log": geometry.log(a, b), "distance": geometry.distance(a, b)}
        for name, value in whole.items():
            assert gap(take(value, i), alone[name]) <= 1e-8 * (
                1 + gap(alone[name], scaled(alone[name], 0.0))
            ), name

    holds()


def test_precision_is_kept_and_close_points_are_told_apart(build: Any, row: Any) -> None:
    """A short way v from x: its end is |v| away, relative to rounding, and its log is v again."""
    geometry = continuous(build, row)
    if not geometry.geodesic_distance:
        pytest.skip("its ways are not shortest")

    @given(seed=SEEDS, power=st.integers(-9, -4))
    def holds(seed: int, power: int) -> None:
        x = geometry.project(points(geometry, seed, 4))
        v = geometry.to_tangent(x, noise_like(x, torch.Generator().manual_seed(seed + 2)))
        length = geometry.norm(x, v).clamp_min(1e-12)
        v = scaled(v, 10.0**power / length)
        y = geometry.exp(x, v)
        back = geometry.log(x, y)
        off = geometry.norm(x, map_state(torch.sub, back, v))
        assert float(off.max()) <= 2e-2 * 10.0**power + 1e-7
        single = cast(x, torch.float32), cast(v, torch.float32)
        assert all(leaf.dtype == torch.float32 for _, leaf in leaves(geometry.exp(*single)))

    holds()


def test_distance_is_symmetric_zero_at_home_and_obeys_the_triangle(build: Any, row: Any) -> None:
    geometry: Geometry = build(row)

    @given(seed=SEEDS)
    def holds(seed: int) -> None:
        x, y, z = (points(geometry, seed + i, 4) for i in range(3))
        xy, yx = geometry.distance(x, y), geometry.distance(y, x)
        assert gap(xy, yx) <= 1e-5 * (1 + float(xy.max()))
        # Close to zero a root of rounding is left: acos and acosh are flat there.
        assert float(geometry.distance(x, x).max()) <= 1e-5
        if geometry.geodesic_distance:
            assert bool((xy <= geometry.distance(x, z) + geometry.distance(z, y) + 1e-5).all())

    holds()
