"""Reflections against their closed forms, the truncated Gaussian against scipy, and the paper's size."""

import pytest
import torch
from scipy.stats import truncnorm

import flowloom as fl
from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import Field
from flowloom.geometry import Box, Sphere
from flowloom_geometries.bounded import (
    Feasibility,
    NearestInside,
    ReflectedEuler,
    ReflectedHeun,
    TruncatedGaussian,
    WalledPatches,
    reflect,
)
from flowloom_geometries.spaces import Polytope
from flowloom_registry import build, load_recipe

TRIANGLE = Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1])


class Push(Field):
    """A constant velocity; remembers where it was asked."""

    kind = "velocity"

    def __init__(self, space, by):
        self.geometry, self.by, self.asked = space, torch.tensor(by), []

    def __call__(self, x, t, cond, generator=None):
        self.asked.append(x)
        return self.by.to(x).expand(x.shape)


@pytest.mark.parametrize("scale", [1.0, 20.0, 1e4, 1e8])
@pytest.mark.parametrize("box", [Box(), Box([-1.0, 0.0], [2.0, 0.5]), Box([1e3, -0.01], [1e3 + 1, 0.01])])
def test_a_box_folds_however_far_the_step_goes(draws, box, scale):
    y = scale * torch.randn(500, 2, generator=draws).double()
    low, high = (torch.tensor(v, dtype=torch.float64) for v in (box.low, box.high))
    width = high - low
    w = (y - low) % (2 * width)
    found = reflect(box, y)
    assert torch.allclose(found, low + torch.minimum(w, 2 * width - w), atol=1e-9)
    inside = (y == box.project(y)).all(1)
    assert torch.equal(found[inside], y[inside]), "bit for bit"
    single = reflect(box, y.float())
    assert not box.violation(single).any()
    # Far away single precision holds a step of the wall's width or none, and so does what is folded.
    stuck = ((single == box.project(single - 1)) | (single == box.project(single + 1))).any(1)
    assert scale > 100 or stuck.float().mean() < 0.02


def far_triangles(n, distance):
    y = torch.randn(n, 2, generator=torch.Generator().manual_seed(1)).double()
    return distance * y / y.norm(dim=1, keepdim=True)


def test_a_slanted_wall_mirrors():
    y = torch.tensor([[0.5, 0.7], [0.6, 0.6], [0.2, 0.3]]).double()
    a, b = torch.tensor([1.0, 1.0]).double(), 1.0
    wanted = y - 2 * ((y @ a - b).clamp_min(0) / (a @ a))[:, None] * a
    assert torch.allclose(reflect(TRIANGLE, y), wanted, atol=1e-9)


def test_no_point_is_left_on_a_wall_however_far_it_was():
    """Of any convex set: one that is no box either comes back inside or is told of."""
    y = far_triangles(12, 300.0)
    end = reflect(TRIANGLE, y)
    assert (TRIANGLE.margin(end) > 1e-6).all()
    together = reflect(TRIANGLE, torch.stack([y, end], 1))
    assert torch.equal(together, torch.stack([end, end], 1)), "points of a power are mirrored by themselves"
    with pytest.raises(SolverError, match=r"outside Polytope.* 3 reflections .*more steps"):
        reflect(TRIANGLE, y, bounces=3)
    for space in (TRIANGLE, Box()):
        broken = reflect(space, torch.tensor([[float("nan"), 3.0], [0.1, 0.2]]))
        assert broken[0].isnan().any()
        assert torch.equal(broken[1], torch.tensor([0.1, 0.2]))


def test_reflections_have_a_derivative():
    for space in (TRIANGLE, Box()):
        y = far_triangles(3, 1.7).requires_grad_(True)
        assert torch.autograd.gradcheck(lambda z, space=space: reflect(space, z), y)


def test_a_step_bounces_and_does_not_stick():
    x = torch.tensor([[0.9, 0.0]])
    end = ReflectedEuler(1).solve(Push(Box(), [0.5, 0.0]), x).x
    assert torch.allclose(end, torch.tensor([[0.6, 0.0]]))
    heun = Push(Box(), [0.5, 0.0])
    assert torch.allclose(ReflectedHeun(1).solve(heun, x).x, end)
    assert all(not Box().violation(asked).any() for asked in heun.asked), "stages are asked inside"
    assert torch.equal(heun.asked[1], torch.tensor([[1.0, 0.0]]))


def test_reflected_points_lie_inside_and_clipped_ones_on_the_wall(draws):
    x0 = Box().random((20_000, 2), Draw(draws))
    end = ReflectedEuler(1).solve(Push(Box(), [1.3, -0.4]), x0).x
    found = Feasibility(Box())(Examples(end), Examples(x0))
    assert found == {"outside": 0.0, "on_wall": 0.0}
    clipped = NearestInside(fl.Spec((2,)), Box()).decode_state(x0 + torch.tensor([1.3, -0.4]))
    assert Feasibility(Box())(Examples(clipped), Examples(x0))["on_wall"] > 0.6
    assert Feasibility(Box())(Examples(x0 + 0.5), Examples(x0))["outside"] > 0.3


def test_the_truncated_gaussian_is_scipys(draws):
    box, std = Box([-1.0, 0.2], [0.5, 3.0]), 0.8
    source = TruncatedGaussian(box, std)
    x = source.noise((50_000, 2), Draw(draws))
    log_prob = torch.zeros(len(x)).double()
    for i, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        law = truncnorm(low / std, high / std, scale=std)
        assert abs(float(x[:, i].mean()) - law.mean()) < 0.01
        assert abs(float(x[:, i].var()) - law.var()) < 0.01
        log_prob += torch.from_numpy(law.logpdf(x[:, i].double().numpy().clip(low, high)))
    assert torch.allclose(source.log_prob(x.double()), log_prob, atol=1e-5)
    assert source.log_prob(torch.tensor([[2.0, 1.0]])).isneginf().all()
    with pytest.raises(IncompatibleError, match="geometry: box"):
        TruncatedGaussian(Sphere(2))


@pytest.mark.parametrize(("low", "high"), [(9.0, 10.0), (-10.0, -9.0), (50.0, 51.0), (-3.0, 8.0)])
def test_the_truncated_gaussian_is_scipys_far_out_in_the_tails(draws, low, high):
    law, source = truncnorm(low, high), TruncatedGaussian(Box(low, high))
    x = source.noise((4000, 1), Draw(draws, dtype=torch.float64))
    assert float(x.mean()) == pytest.approx(law.mean(), abs=5 * law.std() / 4000**0.5)
    wanted = torch.from_numpy(law.logpdf(x[:, 0].numpy()))
    torch.testing.assert_close(source.log_prob(x), wanted, rtol=1e-6, atol=1e-6)


def test_walls_of_a_small_box_are_no_thicker_than_those_of_a_large_one(draws):
    x = torch.rand(200, 2, generator=draws, dtype=torch.float64)
    small = Box(0.0, 1e-6)
    assert Feasibility(small)(Examples(1e-6 * x), Examples(1e-6 * x))["on_wall"] < 0.02
    assert Feasibility(small)(Examples(0 * x), Examples(1e-6 * x))["on_wall"] == 1
    outside = torch.tensor([[2e-6]], dtype=torch.float64)
    assert TruncatedGaussian(small).log_prob(outside).isneginf().all()
    with pytest.raises(ValueError, match="margin must be positive"):
        Feasibility(small, margin=float("nan"))


def test_patches_touch_walls_and_spaces_without_walls_are_refused():
    x = WalledPatches(4000).all().x
    assert not Box().violation(x).any()
    assert (x.abs().amax(1) > 0.9).float().mean() > 0.3
    assert list(ReflectedEuler(5).clashes({"geometry": Sphere(2)}))


def test_the_papers_size(tmp_path):
    pytest.importorskip("flowloom_images")
    (tmp_path / "fake.py").write_text(
        "import torch\nfrom flowloom.data import Dataset, Examples\n"
        "from flowloom.spec import Condition, Spec\n"
        "class Pixels(Dataset):\n    spec = Spec((3, 64, 64), conditions={'label': Condition(1000)})\n"
        "    def __len__(self):\n        return 1\n    def take(self, rows):\n"
        "        n = len(rows)\n        return Examples(torch.zeros(n, 3, 64, 64), "
        "{'label': torch.zeros(n, dtype=torch.long)})\n"
    )
    file = tmp_path / "full.yaml"
    file.write_text("extends: reflected-imagenet64\ndata: './fake.py:Pixels'\nviews: []\n")
    with torch.device("meta"):
        built = build(load_recipe(str(file)))
    assert round(sum(p.numel() for p in built["model"].parameters()) / 1e6) == 296  # ADM, 64 x 64
    assert isinstance(built["source"], TruncatedGaussian)
