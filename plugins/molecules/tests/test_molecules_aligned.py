"""Alignment inside a row: shifts, turns and changes of place that bring x0 near x1, and what must stay."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.layout import Layout
from flowloom.testing import check
from flowloom_molecules.aligned import Aligned, kabsch

CLOUD = Aligned(rotate=True, assign=True, rounds=3)
CELL = Aligned(Product({"frac": FlatTorus(1.0), "types": Discrete(9)}), of="frac")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Aligned(),
        lambda: Aligned(rotate=True),
        lambda: CLOUD,
        lambda: Aligned(FlatTorus(1.0), assign=True, rounds=2),
    ],
)
def test_laws(make):
    assert {r.name: r.message for r in check(make, "coupling") if not r.ok} == {}


def test_kabsch_is_scipys(draws):
    a, b = torch.randn(2, 6, 7, 3, generator=draws, dtype=torch.float64)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    turned = kabsch(a, b, torch.ones(6, 7))
    for one, end, ours in zip(a, b, turned, strict=True):
        theirs, _ = Rotation.align_vectors(end.numpy(), one.numpy())
        assert torch.allclose(ours, torch.as_tensor(theirs.apply(one.numpy())), atol=1e-9)


def test_a_mirror_image_is_not_turned_into_its_original(draws):
    x = torch.randn(4, 6, 3, generator=draws, dtype=torch.float64)
    mirrored = x * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    turned = kabsch(mirrored, x, torch.ones(4, 6))
    assert float((turned - x).norm(dim=-1).mean()) > 0.1


def test_a_turned_shifted_and_shuffled_copy_is_found(draws):
    """The law of x0 is unchanged, so that a copy of x1 must come back as x1 itself."""
    x1 = torch.randn(8, 5, 3, generator=draws, dtype=torch.float64)
    small = torch.linalg.matrix_exp(0.1 * torch.tensor([[0, 1.0, 0], [-1, 0, 0.5], [0, -0.5, 0]]).double())
    order = torch.randperm(5, generator=draws)
    x0 = (x1 @ small + 0.3)[:, order]
    moved = CLOUD.pair(x0, x1, {})
    assert float((moved - x1).abs().max()) < 1e-9


def test_the_mean_velocity_of_fractional_coordinates_is_0(draws):
    """FlowMM's target, however atoms wrap."""
    torus = FlatTorus(1.0)
    x0, x1 = (
        {"frac": torus.random((64, 5, 3), Draw(draws)), "types": torch.zeros(64, 5, dtype=torch.long)}
        for _ in "ab"
    )
    real = torch.arange(5) < torch.randint(2, 6, (64, 1), generator=draws)
    layout = Layout({"frac": real, "types": real})
    moved = CELL.pair(x0, x1, {}, layout)
    way = torus.log(moved["frac"], x1["frac"]) * real[..., None]
    mean = way.sum(1) / real.sum(1, keepdim=True)
    assert float(mean.abs().max()) < 1e-4
    unpaired = (torus.log(x0["frac"], x1["frac"]) * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    assert float(unpaired.abs().max()) > 0.1


def test_only_atoms_of_the_same_element_change_places(draws):
    x1 = {"frac": torch.rand(32, 5, 3, generator=draws), "types": torch.tensor([0, 1, 2, 2, 2]).expand(32, 5)}
    x0 = {**x1, "frac": torch.rand(32, 5, 3, generator=draws)}
    space = Product({"frac": FlatTorus(1.0), "types": Discrete(9)})
    moved = Aligned(space, of="frac", translate=False, assign=True, alike="types").pair(x0, x1, {})["frac"]
    assert torch.equal(moved[:, :2], x0["frac"][:, :2])
    assert not torch.equal(moved, x0["frac"])
    assert torch.equal(moved[:, 2:].sort(1).values, x0["frac"][:, 2:].sort(1).values)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_elements_stay_apart_in_any_unit(scale, draws):
    types = torch.tensor([0, 1, 2, 2, 2]).expand(32, 5)
    x0, x1 = ({"pos": scale * torch.randn(32, 5, 3, generator=draws), "types": types} for _ in range(2))
    space = Product({"pos": Euclidean(), "types": Discrete(9)})
    moved = Aligned(space, of="pos", translate=False, assign=True, alike="types").pair(x0, x1, {})["pos"]
    assert torch.equal(moved[:, :2], x0["pos"][:, :2])
    assert not torch.equal(moved, x0["pos"])


def test_points_that_are_given_stay(draws):
    x0, x1 = torch.randn(2, 4, 5, 3, generator=draws)
    given = torch.tensor([True, False, False, False, True]).expand(4, 5)
    moved = CLOUD.pair(x0, x1, {}, Layout(given=given))
    assert torch.equal(moved[given], x0[given])


def test_spaces_that_cannot_be_shifted_are_refused():
    with pytest.raises(IncompatibleError, match="flat spaces and tori"):
        Aligned(Sphere(2))
    with pytest.raises(IncompatibleError, match="turns points of flat space"):
        Aligned(FlatTorus(1.0), rotate=True)
    assert Aligned(Euclidean()).moves
