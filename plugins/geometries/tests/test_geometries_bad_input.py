"""What a user may hand in by mistake: one clear line each, from Python and from the command line."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, OffManifoldError, ShapeError
from flowloom.geometry import FlatTorus, Product, Sphere
from flowloom.paths import GeodesicPath
from flowloom.solvers import Euler
from flowloom.spec import Spec
from flowloom.training import TrainConfig
from flowloom_geometries.spaces import SO3
from flowloom_registry.cli import main

TORUS = '''
import math

import torch
from flowloom.draw import GLOBAL
from flowloom.geometry import Geometry

TURN = 2 * math.pi


class Torus3(Geometry):
    """Three angles, whose log forgets the seam."""

    dim = 3
    flat = True

    def project(self, x):
        wrapped = torch.remainder(x, TURN)
        return torch.where(wrapped < TURN, wrapped, torch.zeros_like(wrapped))

    def to_tangent(self, x, v):
        return v

    def exp(self, x, v):
        return self.project(x + v)

    def log(self, x, y):
        return y - x

    def inner_point(self, x, u, v):
        return (u * v).sum(-1)

    def random(self, shape, draw=GLOBAL):
        return TURN * draw.uniform(shape)

    def log_volume(self):
        return 3 * math.log(TURN)
'''


def sphere_flow():
    torch.manual_seed(0)
    return fl.Flow(fl.models.MLP(Spec(shape=(3,)), width=8, depth=1), geometry=Sphere(2))


def off_by_a_half(draws):
    x = Sphere(2).random((50, 3), Draw(draws))
    x[17] *= 1.5
    return x


def test_points_off_the_manifold(draws):
    said = r"row 17 is off Sphere\(dim=2\) by 0\.5 \(allowed 0\.0001; 1 of 50 rows .*\); apply geometry"
    x, flow = off_by_a_half(draws), sphere_flow()
    with pytest.raises(OffManifoldError, match="x: " + said):
        flow.log_prob(x)
    with pytest.raises(OffManifoldError, match="data: " + said):
        flow.fit(x, steps=1)
    both = fl.Flow(
        fl.models.MLP(Spec(parts={"a": Spec(shape=(3,)), "b": Spec(shape=(3, 3))}), width=8),
        geometry=Product({"a": Sphere(2), "b": SO3()}),
    )
    turns = SO3().random((50, 3, 3), Draw(draws))
    with pytest.raises(OffManifoldError, match=r"data\.a: row 17"):
        both.fit(Tensors({"a": x, "b": turns}), steps=1)


@pytest.mark.parametrize("value", [1.5, float("nan")])
@pytest.mark.parametrize("row", [0, 1023, 1024, 12345, 19_999])
def test_every_row_of_the_data_is_looked_at(row, value, draws):
    x = Sphere(2).random((20_000, 3), Draw(draws))
    x[row] *= value
    nan = value != value
    error = DataError if nan else OffManifoldError
    what = "is not finite" if nan else r"is off Sphere\(dim=2\) by .*; 1 of \d+ rows"
    with pytest.raises(error, match=rf"data: row {row} {what}"):
        sphere_flow().fit(x, steps=1)
    both = fl.Flow(
        fl.models.MLP(Spec(parts={"a": Spec(shape=(3,)), "b": Spec(shape=(2,))}), width=8),
        geometry=Product({"b": FlatTorus(), "a": Sphere(2)}),
    )
    what = rf"data: row {row}, part 'a', is not finite" if nan else rf"data\.a: row {row} is off"
    with pytest.raises(error, match=what):
        both.fit(Tensors({"a": x, "b": torch.rand(20_000, 2, generator=draws)}), steps=1)


class Seen(Tensors):
    """Remembers which rows were asked for."""

    def __init__(self, x, length):
        super().__init__(x)
        self.length, self.rows = length, []

    def __len__(self):
        return self.length

    def take(self, rows):
        self.rows.append(rows)
        return super().take(rows % len(self.examples))


@pytest.mark.parametrize(
    ("length", "reads_files", "looked_at"),
    [
        (5000, False, 5000),
        (2**17, False, 2**17),
        (10**6, False, 2**17),
        (10**6, True, 1024),
        (500, True, 500),
    ],
)
def test_how_many_rows_are_looked_at(length, reads_files, looked_at, draws):
    data = Seen(Sphere(2).random((7, 3), Draw(draws)), length)
    data.reads_files = reads_files
    sphere_flow().trainer(data, TrainConfig(steps=1, batch=4, prefetch="off")).close()
    rows = torch.cat(data.rows)
    assert max(map(len, data.rows)) <= 1024
    assert len(rows.unique()) == len(rows) == looked_at
    steps = rows.diff()
    assert int(steps.max() - steps.min()) <= 1, "evenly spread"
    assert int(rows[-1]) >= length - 1 - int(steps.max())
    flat = Seen(torch.randn(7, 2, generator=draws), length)
    plain = fl.Flow(fl.models.MLP(Spec(shape=(2,)), width=8))
    plain.trainer(flat, TrainConfig(steps=1, batch=4, prefetch="off")).close()
    # Flat data are looked at for what is not finite.
    assert len(torch.cat(flat.rows)) == (min(length, 2**17))


def test_angles_outside_the_chart_are_no_mistake(draws):
    flow = fl.Flow(fl.models.MLP(Spec(shape=(2,)), width=8, depth=1), geometry=FlatTorus())
    x = 6 * torch.rand(64, 2, generator=draws) - 3
    flow.fit(x, steps=1, batch=8)
    with torch.no_grad():
        assert bool(flow.log_prob(x, solver=Euler(2)).isfinite().all())
    x[3, 1] = float("nan")
    with pytest.raises(OffManifoldError, match="row 3 is off FlatTorus"):
        flow.log_prob(x)


def test_points_off_the_manifold_from_the_command_line(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(
        "data: {use: moons, n: 40}\nmodel: {use: mlp, width: 8}\ngeometry: {use: sphere, dim: 1}\n"
        "source: uniform\npath: geodesic\ntrain: {steps: 1}\n"
    )
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    err = said.strip().splitlines()[-1]  # behind what the run is going to do
    assert "data: row " in err
    assert "is off Sphere(dim=1) by" in err


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype, draws):
    x = Sphere(2).random((4, 3), Draw(draws)).to(dtype)
    name = str(dtype).removeprefix("torch.")
    said = f"{name}; Sphere needs float32 or float64"
    with pytest.raises(ShapeError, match=said):
        GeodesicPath(Sphere(2)).sample(x, x, torch.rand(4))
    with pytest.raises(ShapeError, match=said):
        sphere_flow().log_prob(x)
    with pytest.raises(ShapeError, match=said):
        sphere_flow().fit(x, steps=1)


def test_empty_batches():
    none = torch.empty(0, 3)
    with pytest.raises(ShapeError, match="x1 is an empty batch; give at least one row"):
        GeodesicPath(Sphere(2)).sample(none, none, torch.empty(0))
    with pytest.raises(ShapeError, match="x is an empty batch"):
        sphere_flow().log_prob(none)
    with pytest.raises(ShapeError, match="n must be at least 1, got 0"):
        sphere_flow().solve(0)


def test_antipodes_have_finite_gradients(draws):
    """Values, velocities and gradients at exact antipodes and around them, in both precisions."""
    path = GeodesicPath(Sphere(2))
    for dtype in (torch.float32, torch.float64):
        x = Sphere(2).random((500, 3), Draw(draws, dtype=dtype))
        beside = torch.randn(500, 3, generator=draws, dtype=dtype)
        for distance in (0.0, 1e-7, 1e-4, 1e-2):
            a = x.clone().requires_grad_()
            b = Sphere(2).project(-x + distance * beside).requires_grad_()
            point = path.sample(a, b, torch.rand(500, generator=draws, dtype=dtype))
            log = Sphere(2).log(a, b)
            total = point.x_t.sum() + point.velocity.sum() + log.sum() + Sphere(2).distance(a, b).sum()
            for value in (point.x_t, point.velocity, log, *torch.autograd.grad(total, (a, b))):
                assert bool(value.isfinite().all()), (dtype, distance)


RECIPE = """
data: {use: wrapped-normals, n: 50}
geometry: ./mine.py:Torus3
source: uniform
path: geodesic
model: {use: mlp, width: 8, depth: 1}
scores: [likelihood]
train: {steps: 1, batch: 4}
"""


def test_a_score_that_needs_a_volume_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(TORUS[: TORUS.index("    def log_volume")])
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("scores: score likelihood: source Uniform has no density on Torus3()")
    assert "\n" not in err, err
    assert not (tmp_path / "run").exists()


def test_a_geometry_that_lacks_methods_is_told_with_its_place(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from flowloom.geometry import Geometry\n\n\nclass Torus3(Geometry):\n    pass\n"
    )
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err.strip()
    lacks = "Torus3 lacks exp, inner_point, log, project, random, to_tangent"
    assert err.startswith(f"{tmp_path / 'r.yaml'}:3:11: geometry: {lacks}")
    assert "\n" not in err, err


def test_a_geometry_that_breaks_a_law_is_told_on_the_command_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(TORUS)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "./mine.py:Torus3"]) == 1
    printed = "".join(capsys.readouterr())
    (line,) = [line for line in printed.splitlines() if line.strip().startswith("failed")]
    assert "check_distance_is_at_most_the_way: distance(x, exp(x, v)) - |v|: worst deviation" in line
    assert "(seed 0)" in line
