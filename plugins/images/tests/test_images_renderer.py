"""Sample grids and strips, read back from their PNGs."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from flowloom.data import Examples
from flowloom.spec import Condition, Spec
from flowloom_images.renderer import ImageGrid


def opened(figure) -> np.ndarray:
    assert figure.mime == "image/png"
    return np.asarray(Image.open(io.BytesIO(figure.data)).convert("RGB")).astype(int)


def flat(values: list[float], channels: int = 1) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, channels, 4, 4).clone()


def patches(page: np.ndarray, value: int, size: int) -> list[tuple[int, int]]:
    """Top left corners of squares of one grey value that are framed by white."""
    found = []
    grey = (page == value).all(2)
    for i, j in zip(*np.nonzero(grey), strict=True):
        if not grey[i - 1, j] and not grey[i, j - 1] and grey[i : i + size, j : j + size].all():
            found.append((int(i), int(j)))
    return found


def test_a_row_for_each_class_and_real_ones_beside():
    # Class 0 is dark, class 1 lighter; two generated and one real of each, in mixed order.
    x = flat([0.0, -0.5, 0.0, -0.5])
    samples = Examples(x, {"label": torch.tensor([1, 0, 1, 0])})
    real = Examples(flat([-0.5, 0.0]), {"label": torch.tensor([0, 1])})
    spec = Spec(
        shape=(1, 4, 4), conditions={"label": Condition(2, names=("dark", "light"))}, limits=(-1.0, 1.0)
    )
    (figure,) = ImageGrid(columns=3, pixels=16, spec=spec).samples(samples, real)
    page = opened(figure)
    dark, light = patches(page, 64, 16), patches(page, 128, 16)
    assert len(dark) == len(light) == 3
    assert len({i for i, _ in dark}) == 1
    assert len({i for i, _ in light}) == 1
    assert dark[0][0] < light[0][0]
    assert [j for _, j in dark] == [j for _, j in light]
    columns = [j for _, j in dark]
    assert columns[1] - columns[0] < columns[2] - columns[1]  # a gap before the real one
    assert columns[0] > 20  # room for names


def test_small_images_grow_by_whole_pixels():
    image = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])[None, None].expand(1, 3, 2, 2)
    (figure,) = ImageGrid(columns=1, rows=1, pixels=7).samples(Examples(image), Examples(image))
    page = opened(figure)
    dark = (page == 0).all(2)
    assert dark.sum() == 2 * 2 * 16  # two pixels of 4 x 4, twice


def test_without_labels_images_come_in_order():
    (figure,) = ImageGrid(columns=2, rows=2, pixels=4).samples(
        Examples(flat([-0.5] * 9, 3)), Examples(flat([0.0], 3))
    )
    page = opened(figure)
    assert len(patches(page, 64, 4)) == 4
    assert len(patches(page, 128, 4)) == 1


def test_strips_run_from_noise_to_data():
    times = [i / 4 for i in range(5)]
    states = [flat([t - 1.0] * 3) for t in times]
    (figure,) = ImageGrid(pixels=16, strips=2, frames=3).trajectory(times, states)
    page = opened(figure)
    first, middle, last = (patches(page, value, 16) for value in (0, 64, 128))
    assert len(first) == len(middle) == len(last) == 2
    assert first[0][1] < middle[0][1] < last[0][1]


def test_values_out_of_range_and_not_numbers_are_drawn():
    x = flat([9.0, -9.0, float("nan"), float("inf")])
    (figure,) = ImageGrid(columns=4, rows=1, pixels=16).samples(Examples(x), Examples(x))
    assert len(patches(opened(figure), 0, 16)) == 4
    spec = Spec(shape=(1, 4, 4), limits=(0.0, 1.0))
    (figure,) = ImageGrid(columns=1, rows=1, pixels=16, spec=spec).samples(Examples(flat([0.5])), Examples(x))
    assert len(patches(opened(figure), 128, 16)) == 1


def test_colours_keep_their_order():
    x = torch.stack([torch.full((4, 4), v) for v in (1.0, -1.0, 0.0)])[None]
    (figure,) = ImageGrid(columns=1, rows=1, pixels=8).samples(Examples(x), Examples(x))
    assert (opened(figure) == [255, 0, 128]).all(2).sum() == 2 * 64


def test_figures_are_the_same_every_time():
    x = Examples(flat([0.1, 0.2]), {"label": torch.tensor([0, 1])})
    grid = ImageGrid()
    assert grid.samples(x, x)[0].data == grid.samples(x, x)[0].data


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        ImageGrid(columns=0)
