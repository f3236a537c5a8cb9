"""Views of images against direct formulas."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.views import Context, Mask, spec_through, through
from flowloom_images.data import Digits
from flowloom_images.views import Blur, Crop, Flip, Hole

SPEC = Digits().spec


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=40):
    return Digits().take(torch.arange(n))


def test_flip_mirrors_about_half_of_the_rows_and_leaves_the_others():
    x = images(200)
    seen = Flip()(x, draws()).x
    mirrored = (seen == x.x.flip(-1)).flatten(1).all(1)
    same = (seen == x.x).flatten(1).all(1)
    assert bool((mirrored | same).all())
    assert 70 < int(mirrored.sum()) < 130


def test_crop_shifts_and_reflects():
    x = torch.arange(25.0).reshape(1, 1, 5, 5).repeat(60, 1, 1, 1)
    seen = Crop(2)(Examples(x), draws()).x
    padded = torch.nn.functional.pad(x[:1], (2,) * 4, mode="reflect")[0, 0]
    shifts = {(i, j): padded[i : i + 5, j : j + 5] for i in range(5) for j in range(5)}
    found = [next(k for k, v in shifts.items() if torch.equal(v, row[0])) for row in seen]
    assert len(set(found)) > 10


def test_blur_is_the_normalised_gaussian_kernel_of_each_rows_width():
    point = torch.zeros(1, 1, 17, 17)
    point[0, 0, 8, 8] = 1
    view = Blur(width=1.5, noise=0.0)
    seen = view(Examples(point), draws()).cond["observed"][0, 0]
    assert float(seen.sum()) == pytest.approx(1.0, abs=1e-5)
    # Ratio of neighbours of the peak: exp(-d^2 / 2 sigma^2), in either direction and on the diagonal.
    for i, j in ((9, 8), (8, 10), (10, 9)):
        squared = (i - 8) ** 2 + (j - 8) ** 2
        assert float(seen[i, j] / seen[8, 8]) == pytest.approx(math.exp(-squared / (2 * 1.5**2)), rel=1e-4)
    widths = Blur(width=1.5, least=0.5, noise=0.0)(Examples(point.repeat(50, 1, 1, 1)), draws()).cond[
        "observed"
    ]
    peaks = widths[:, 0, 8, 8]
    assert float(peaks.std()) > 0.01


def test_noise_of_a_blurred_image_has_its_standard_deviation():
    x = Examples(torch.zeros(200, 1, 12, 12))
    assert float(Blur(noise=0.3)(x, draws()).cond["observed"].std()) == pytest.approx(0.3, rel=0.03)


def test_a_hole_is_one_rectangle_within_its_sizes_and_nothing_leaks():
    seen = Hole(0.25, 0.5)(images(200), draws())
    given, values = seen.cond["given"], seen.cond["given_values"]
    assert torch.equal(values[given], seen.x[given])
    assert not bool(values[~given].any())
    for marks in ~given[:, 0]:
        down, right = marks.any(1), marks.any(0)
        assert torch.equal(marks, down[:, None] & right[None, :])
        assert 2 <= int(down.sum()) <= 4
        assert 2 <= int(right.sum()) <= 4
    layout = Layout.of(Hole().spec(SPEC), seen.cond)
    assert torch.equal(layout.hold(torch.zeros_like(seen.x)), values)


def test_views_run_in_order_and_say_where_they_do_not_fit():
    views = [
        Flip(),
        Hole(),
    ]
    spec = spec_through(views, SPEC)
    assert spec.named("given") == ("given",)
    assert set(through(views, images(), SPEC, draws()).cond) == {"label", "given", "given_values"}
    with pytest.raises(IncompatibleError, match="view flip moves pixels, and condition 'given'"):
        spec_through([Hole(), Flip()], SPEC)
    with pytest.raises(
        IncompatibleError, match=r"view blur is of images \(C, H, W\); the state here is of shape \(2,\)"
    ):
        Blur().spec(Tensors(torch.zeros(3, 2)).spec)
    with pytest.raises(IncompatibleError, match="there is a condition 'given' already"):
        spec_through([Mask(), Hole()], SPEC)
    assert Context(1).spec(Tensors(torch.zeros(3, 2)).spec).shape == (1,)
