"""The sliced-Wasserstein flow: transport on lines, one layer by hand, conditions that stay, laws that it
reaches."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Tensors
from flowloom.errors import DataError, IncompatibleError, ShapeError, TrainingError
from flowloom.layout import Layout
from flowloom.metrics import sliced_wasserstein
from flowloom.objectives import Batch, Step
from flowloom.solvers import Euler, EulerMaruyama
from flowloom.spec import Condition, Spec
from flowloom_foundations.data import OverlappingClasses
from flowloom_foundations.metrics import Novelty
from flowloom_foundations.sliced import Fitted, SlicedFlow, directions, quantiles, transport

DATA = OverlappingClasses(1500)
SMALL = {"layers": 25, "slices": 32, "bins": 32, "particles": 2000, "amplifier": 6.0}


def fitted(data=DATA, std=0.1, seed=0, **settings):
    model = SlicedFlow(data.spec, **SMALL | settings)
    flow = fl.Flow(model, source=fl.sources.Gaussian(std), objective=Fitted(), solver=Euler(model.total))
    flow.fit_parts(data, seed=seed)
    return flow


@pytest.fixture(scope="module")
def planar():
    return fitted()


def test_quantiles_are_order_statistics_between_which_they_are_linear(draws):
    values = torch.randn(3, 7, generator=draws)
    assert torch.allclose(quantiles(values, 7), values.sort(1).values)
    pair = torch.tensor([[4.0, 2.0]])
    assert torch.allclose(quantiles(pair, 4), torch.tensor([[2.0, 2.5, 3.5, 4.0]]))


def test_transport_is_monotone_and_takes_one_law_to_another(draws):
    source, target = torch.randn(2, 4000, generator=draws), 5 + 3 * torch.rand(2, 4000, generator=draws)
    knots = [quantiles(v, 50) for v in (source, target)]
    moved = transport(source, *knots)
    order = source.argsort(1)
    assert (moved.gather(1, order).diff(dim=1) >= 0).all()
    assert (quantiles(moved, 50) - knots[1]).abs().max() < 0.02
    same = transport(source, knots[0], knots[0])
    assert torch.allclose(same, source, atol=1e-5)
    far = torch.tensor([[-100.0, 100.0]] * 2)
    ends = torch.stack([k[:, [0, -1]] for k in knots])
    assert torch.allclose(transport(far, *knots), far + ends[1] - ends[0])


def test_between_normal_laws_it_is_the_affine_optimal_map(draws):
    source = torch.randn(1, 20_000, generator=draws)
    target = 2 + 3 * torch.randn(1, 20_000, generator=draws)
    a = torch.linspace(-1.5, 1.5, 7)[None]
    found = transport(a, quantiles(source, 200), quantiles(target, 200))
    assert (found - (2 + 3 * a)).abs().max() < 0.15


def test_directions_are_unit_and_coarse_ones_are_smooth(draws):
    for size, local in ((0, False), (3, False), (8, True), (4, True)):
        w = directions((2, 8, 8), 400, draws, size, local)
        assert w.shape == (400, 128)
        assert torch.allclose(w.norm(dim=1), torch.ones(400), atol=1e-5)
    fine, coarse = (directions((1, 8, 8), 200, draws, size).view(200, 8, 8) for size in (0, 2))
    rough = [w.diff(dim=1).square().mean() for w in (fine, coarse)]
    assert rough[1] < 0.2 * rough[0]
    alone = directions((1, 12, 12), 200, draws, 0, True) != 0
    assert alone.sum(1).max() <= 49, "a local direction reaches further than its kernels"
    second = directions((3,), 20_000, draws).T.cov(correction=0)
    assert (second - torch.eye(3) / 3).abs().max() < 0.01
    with pytest.raises(IncompatibleError, match="are for images"):
        directions((4,), 2, draws, size=2)


def test_one_layer_by_hand():
    """With as many bins as particles and rows, quantiles are the sorted values themselves."""
    n, d = 6, 3
    x1 = torch.randn(n, d, generator=torch.Generator().manual_seed(5))
    data = Tensors(x1)
    model = SlicedFlow(data.spec, layers=1, slices=4, bins=n, particles=n, label=None, step=0.7)
    model.fit(data, None, torch.Generator().manual_seed(3))
    w = model.weight[0]
    assert torch.allclose(w.norm(dim=1), torch.ones(4), atol=1e-5)
    replay = torch.Generator().manual_seed(3)
    torch.randperm(n, generator=replay)
    x0 = 0.1 * torch.randn(n, d, generator=replay)
    wanted = x0.clone()
    for one in w:
        a = x0 @ one
        target = (x1 @ one).sort().values[a.argsort().argsort()]
        wanted += 0.7 * d / 4 * (target - a)[:, None] * one
    assert torch.allclose(x0 + model(x0, torch.zeros(n)), wanted, atol=1e-5)


def test_joint_directions_give_the_state_and_the_class_their_shares():
    model = fitted(layers=1, slices=50).model
    of_state, of_class = model.weight[0].square().sum(1), model.of_class[0].square().sum(1)
    assert torch.allclose(of_state, torch.full((50,), 0.2), atol=1e-5)  # 2 of 2 + 8
    assert torch.allclose(of_class, torch.full((50,), 0.8), atol=1e-5)
    assert model.gain[0] == pytest.approx(10 / 50)
    assert fitted(layers=1, slices=4).model.gain[0] == pytest.approx(1.0)  # no step beyond H / D


def test_samples_have_the_law_of_their_class(planar):
    held = DATA.split("test").all()
    x = planar.sample(1500, seed=4, label=held.cond["label"])
    floor = sliced_wasserstein(DATA.all().x, held.x)
    assert sliced_wasserstein(x, held.x) < 3 * floor
    right = (DATA.class_of(x) == held.cond["label"]).float().mean()
    truth = (DATA.class_of(held.x) == held.cond["label"]).float().mean()
    assert right > truth - 0.1
    # Classes that weigh nothing are forgotten: the amplifier is what tells them apart.
    blind = fitted(amplifier=0.0).sample(1500, seed=4, label=held.cond["label"])
    assert (DATA.class_of(blind) == held.cond["label"]).float().mean() < 0.25


def test_particles_ride_along_one_by_one(planar):
    x0, label = 0.1 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    whole = planar.solve(x0=x0, cond={"label": label}).x
    apart = torch.cat([planar.solve(x0=x0[i : i + 1], cond={"label": label[i : i + 1]}).x for i in range(6)])
    assert torch.allclose(whole, apart, atol=1e-4)


def test_what_is_observed_stays_and_tells_the_rest():
    """The second entry is the first plus noise; given the first, the second follows it."""
    draws = torch.Generator().manual_seed(0)
    first = 2 * torch.rand(2000, 1, generator=draws) - 1
    x = torch.cat([first, first + 0.05 * torch.randn(2000, 1, generator=draws)], 1)
    spec = Spec((2,), conditions={"given": Condition(shape=(2,), role="given")})
    given = torch.tensor([[True, False]]).expand(2000, 2)
    data = Tensors(x, {"given": given}, spec=spec)
    flow = fitted(data, label=None, observed=1, layers=40)
    known = torch.stack([torch.linspace(-0.8, 0.8, 200), torch.zeros(200)], 1)
    layout = Layout(given=given[:200], values=known)
    found = flow.solve(200, cond={"given": given[:200]}, layout=layout, seed=2).x
    assert torch.equal(found[:, 0], known[:, 0])
    assert (found[:, 1] - known[:, 0]).abs().mean() < 0.2
    assert found[:, 1].sub(known[:, 0]).std() > 0.01, "one answer for all"


def test_the_same_seed_fits_the_same_bits_and_a_killed_run_keeps_them(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    from flowloom_registry.cli import main
    from flowloom_registry.runs import carry_out

    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "data: {use: overlapping-classes, n: 300}\nmodel: {use: sliced-flow, layers: 4, slices: 16, bins: 8, "
        "particles: 300}\nobjective: fitted\nsolver: {use: euler, steps: 4}\ntrain: {steps: 0, ema: 0.0}\n"
        "sample: {n: 4}\n"
    )

    class Killed(BaseException):
        """What no part of the program catches."""

    def dies(*_):
        raise Killed

    assert main(["run", str(recipe), "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(carry_out, "judge_and_report", dies)
        with pytest.raises(Killed):
            main(["run", str(recipe), "--out", str(tmp_path / "cut")])
    with monkeypatch.context() as patch:
        patch.setattr(SlicedFlow, "fit", dies)  # what was fitted is not fitted again
        assert main(["run", str(recipe), "--out", str(tmp_path / "cut")]) == 0
    whole, cut = (load_file(tmp_path / run / "flow.safetensors") for run in ("whole", "cut"))
    assert whole["model.target"].any()
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_novelty_of_copies_new_data_and_noise():
    metric, train, held = Novelty(), DATA.all(), DATA.split("test").all()
    metric.fit(DATA)
    assert metric(train, train)["novelty"] == 0
    assert metric(held, train)["novelty"] == pytest.approx(1.0, abs=0.15)
    far = type(held)(held.x + 10, held.cond)
    assert metric(far, train)["novelty"] > 10


def test_novelty_of_training_data_that_holds_everything_twice():
    once, twice = Novelty(), Novelty()
    x = DATA.all().x
    once.fit(fl.data.Tensors(x))
    twice.fit(fl.data.Tensors(torch.cat([x, x])))
    held = DATA.split("test").all()
    assert twice(held, held) == pytest.approx(once(held, held), rel=1e-6)


def test_what_cannot_work_is_refused(planar):
    with pytest.raises(IncompatibleError, match="label: null"):
        SlicedFlow(Spec((2,)))
    with pytest.raises(IncompatibleError, match="one real tensor"):
        SlicedFlow(Spec((2,), vocab=3), label=None)
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        SlicedFlow(DATA.spec, step=2.0)
    for settings in ({"amplifier": float("nan")}, {"dequantise": -1.0}):
        with pytest.raises(ValueError, match="amplifier and dequantise"):
            SlicedFlow(DATA.spec, **settings)
    with pytest.raises(DataError, match="two rows"):
        SlicedFlow(DATA.spec).fit(None, None, torch.Generator())
    with pytest.raises(ShapeError, match="without it"):
        planar.sample(2)
    with pytest.raises(TrainingError, match="steps: 0"):
        planar.objective.loss(planar.model, Batch(torch.zeros(2, 2), torch.zeros(2, 2)), Step())
    with pytest.raises(IncompatibleError):
        EulerMaruyama(4).solve(planar.field(), torch.zeros(2, 2), cond={"label": torch.zeros(2).long()})


def test_the_papers_pyramid_takes_no_memory_on_the_meta_device():
    from flowloom_registry import load_recipe

    tree = load_recipe("cswf-mnist").tree.get("model")
    assert tree is not None
    spec = Spec((1, 28, 28), conditions={"label": Condition(10)})
    with torch.device("meta"):
        model = SlicedFlow(
            spec, 300, 1000, [1, 2, 3, 4, 5, 6, 7, 7, 11, 14, 21, 28], [11, 14, 21, 28], 256, 60_000
        )
    assert model.total == 3600
    numbers = sum(b.numel() for b in model.buffers())
    assert numbers == 3600 * 1000 * (784 + 10 + 2 * 256) + 3600
    assert not list(model.parameters())


def test_double_precision_data_are_fitted_in_the_precision_of_the_flow():
    data = Tensors(torch.randn(60, 2, dtype=torch.float64), {"label": torch.arange(60) % 3})
    model = SlicedFlow(data.spec, layers=2, slices=8, particles=90, bins=8)
    flow = fl.Flow(model, spec=data.spec, objective=Fitted(), solver=Euler(2))
    flow.fit_parts(data, seed=0)
    assert flow.sample(4, seed=0, label=torch.zeros(4, dtype=torch.long)).shape == (4, 2)
