"""Wrong renderers."""

from __future__ import annotations

import pytest
import torch

from flowloom.renderers import Figure, Renderer
from flowloom.state import first_leaf

KIND = "renderer"


class Page(Renderer):
    """Tables of numbers: quick to make, and right."""

    def samples(self, samples, real):
        return [self.page("samples", samples.x)]

    def trajectory(self, times, states):
        return [self.page(f"t = {t}", x) for t, x in zip(times, states, strict=True)]

    def page(self, title, x):
        rows = first_leaf(x).detach().flatten(1)[:8].tolist()
        return Figure(title, "text/html", f"<table><!-- {rows} --></table>".encode())


class Empty(Page):
    def samples(self, samples, real):
        return []


class Mislabelled(Page):
    """A page that says it is a picture."""

    def trajectory(self, times, states):
        return [Figure(f.title, "image/png", f.data) for f in super().trajectory(times, states)]


class Fragile(Page):
    """Cannot show states with gradients."""

    def page(self, title, x):
        values = first_leaf(x).numpy().tolist()
        return Figure(title, "text/html", f"<table><!-- {values} --></table>".encode())


class Random(Page):
    """Shows a random choice of rows."""

    def page(self, title, x):
        leaf = first_leaf(x)
        return super().page(title, leaf[torch.randperm(len(leaf))])


class Pieces(Page):
    """Pieces as well."""

    def tiles(self, examples):
        return [self.page("tile", first_leaf(examples.x)[i : i + 1]) for i in range(len(examples))]

    def scenes(self, groups):
        return [self.page("scene", group.x) for group in groups]


class Short(Page):
    """Gives a picture of the first example only."""

    def tiles(self, examples):
        return [self.page("tile", examples.x)]


class Lost(Page):
    """Gives files of all examples but one."""

    def files(self, examples):
        return [self.page("file", first_leaf(examples.x)[i : i + 1]) for i in range(1, len(examples))]


TWINS = {
    "check_files": (Lost, ()),
    "check_pieces": (Short, ("check_files",)),
    "check_samples": (Empty, ("check_odd_states",)),
    "check_trajectory": (Mislabelled, ()),
    "check_odd_states": (Fragile, ()),
    "check_is_deterministic": (Random, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_the_right_one_passes():
    from flowloom.testing import check

    assert all(r.ok for r in check(Page, KIND))
    assert all(r.ok for r in check(Pieces, KIND))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
