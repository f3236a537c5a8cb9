"""Networks as data: one function in every order of its units, vectors and back, zoos, what judges them."""

import itertools
import json

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom.errors import DataError, IncompatibleError
from flowloom_registry import build, load_recipe
from flowloom_registry.cli import main
from flowloom_weights.baselines import AverageNetwork, IndependentWeights
from flowloom_weights.codec import WeightVectors
from flowloom_weights.flow import Bottleneck, NoisyPath
from flowloom_weights.perceptron import Form, initial, logits, recalibrated
from flowloom_weights.quality import NetworkQuality, WeightNovelty
from flowloom_weights.rebasin import order, permuted, rebasin
from flowloom_weights.recalibrate import Recalibrate
from flowloom_weights.zoo import NetworkZoo, Table, problem_of

FORM = Form((3, 5, 4, 2), norm=True)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


def some(form, count, draws):
    """Networks none of whose numbers are those of the start."""
    made = initial(form, count, draws)
    return {name: value + 0.1 * torch.rand(value.shape, generator=draws) for name, value in made.items()}


def shuffled(networks, draws):
    """Each network with its units in an order of its own."""
    count, hidden = len(networks["weight0"]), [len(networks[f"bias{i}"][0]) for i in range(2)]
    rows = [
        permuted({k: v[i] for k, v in networks.items()}, [torch.randperm(n, generator=draws) for n in hidden])
        for i in range(count)
    ]
    return {name: torch.stack([row[name] for row in rows]) for name in networks}


def test_a_perceptron_is_torchs_own(draws):
    networks = some(FORM, 2, draws)
    x = torch.randn(7, 3, generator=draws)
    torso = nn.Sequential(
        nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()
    )
    whole = nn.Sequential(*torso, nn.Linear(4, 2)).eval()
    names = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias"}
    names |= {"mean": "running_mean", "variance": "running_var"}
    for i, (linear, norm) in enumerate(((0, 1), (3, 4), (6, None))):
        for name, value in networks.items():
            kind = name.rstrip("012")
            if name.endswith(str(i)):
                place = linear if kind in ("weight", "bias") else norm
                getattr(whole[place], names[kind]).data.copy_(value[1])
    assert torch.allclose(logits(networks, x)[1], whole(x), atol=1e-5)
    whole.train()
    assert torch.allclose(logits(networks, x, by_batch=True)[1], whole(x), atol=1e-5)
    assert torch.allclose(logits(recalibrated(networks, x), x), logits(networks, x, by_batch=True), atol=1e-5)


def test_an_order_changes_no_function_and_is_found_again(draws):
    networks = some(FORM, 6, draws)
    mixed = shuffled(networks, draws)
    x = torch.randn(20, 3, generator=draws)
    assert torch.allclose(logits(mixed, x), logits(networks, x), atol=1e-5)
    assert not torch.allclose(mixed["weight1"], networks["weight1"])
    for i in range(6):
        back = rebasin({k: v[i : i + 1] for k, v in mixed.items()}, {k: v[i] for k, v in networks.items()})
        assert all(torch.equal(back[name][0], networks[name][i]) for name in networks)
    ordered = rebasin(mixed, {k: v[0] for k, v in networks.items()})
    assert torch.allclose(logits(ordered, x), logits(networks, x), atol=1e-5)


def test_the_order_is_the_best_of_all_for_one_hidden_layer(draws):
    form = Form((2, 4, 3))
    networks = some(form, 2, draws)
    one, other = ({k: v[i] for k, v in networks.items()} for i in range(2))
    found = torch.as_tensor(order(*({k: v.numpy() for k, v in net.items()} for net in (one, other)))[0])

    def far(places):
        moved = permuted(one, [torch.as_tensor(places)])
        return sum(float((moved[name] - other[name]).square().sum()) for name in one)

    best = min(itertools.permutations(range(4)), key=far)
    assert far(found) == pytest.approx(far(best))
    assert far(found) < far(range(4))


def test_vectors_are_alike_for_a_network_in_any_order(draws):
    zoo = NetworkZoo(Table(), hidden=[5], n=10, steps=10)
    codec = WeightVectors(zoo.spec)
    codec.fit(zoo)
    networks = zoo.all().x
    mixed = {k: v.clone() for k, v in networks.items()}
    turn = torch.randperm(5, generator=draws)
    mixed |= {"weight0": mixed["weight0"][:, turn], "bias0": mixed["bias0"][:, turn]}
    mixed["weight1"] = mixed["weight1"][:, :, turn]
    assert torch.equal(codec.encode_state(mixed), codec.encode_state(networks))
    raw = WeightVectors(zoo.spec, rebasin=False)
    raw.fit(zoo)
    assert not torch.equal(raw.encode_state(mixed), raw.encode_state(networks))
    back = raw.decode_state(raw.encode_state(networks))
    assert all(torch.equal(back[name], networks[name]) for name in networks)
    # Nine axes hold all of ten networks, three do not.
    x, _ = problem_of(zoo.problem)
    for count, exact in ((9, True), (3, False)):
        few = WeightVectors(zoo.spec, components=count)
        few.fit(zoo)
        assert few.spec.shape == (count,)
        told = logits(few.decode_state(few.encode_state(networks)), x)
        assert torch.allclose(told, logits(networks, x), atol=1e-4) is exact
    with pytest.raises(DataError, match="at most 9 principal axes"):
        WeightVectors(zoo.spec, components=10).fit(zoo)
    with pytest.raises(IncompatibleError, match="use a network-zoo"):
        WeightVectors(fl.Spec((2,)))


def test_a_zoo_learns_and_is_the_same_again(tmp_path):
    zoo = NetworkZoo(Table(), hidden=[8], n=6, steps=60)
    zoo.keep_in(tmp_path)
    first = zoo.take(torch.arange(6)).x
    assert (tmp_path / "train.safetensors").is_file()
    again = NetworkZoo(Table(), hidden=[8], n=6, steps=60)
    again.keep_in(tmp_path)
    untrained = NetworkZoo(Table(), hidden=[8], n=6, steps=0)
    alone = NetworkZoo(Table(), hidden=[8], n=6, steps=60)
    for other in (again, alone):
        assert all(torch.equal(other.take(torch.arange(6)).x[name], first[name]) for name in first)
    assert not torch.equal(zoo.split("test").take(torch.arange(6)).x["weight0"], first["weight0"])
    judge = NetworkQuality()
    judge.fit(zoo)
    good, bad = judge(zoo.all(), zoo.all()), judge(untrained.all(), zoo.all())
    assert good["accuracy"] > 0.85 > bad["accuracy"]
    assert good["worst_accuracy"] <= good["accuracy"]
    assert good["disagreement"] < bad["disagreement"]
    with pytest.raises(IncompatibleError, match="network-zoo"):
        judge.fit(Tensors(torch.zeros(4, 2)))


def test_disagreement_is_that_of_pairs(draws):
    zoo = NetworkZoo(Table(), hidden=[3], n=5, steps=0)
    judge = NetworkQuality()
    judge.fit(zoo)
    x, _ = problem_of(zoo.problem.split("test"))
    told = logits(zoo.all().x, x).argmax(-1)
    pairs = [(told[i] != told[j]).double().mean() for i, j in itertools.combinations(range(5), 2)]
    assert judge(zoo.all(), zoo.all())["disagreement"] == pytest.approx(float(sum(pairs) / len(pairs)))


def test_a_copy_in_another_order_is_no_news(draws):
    zoo = NetworkZoo(Table(), hidden=[6], n=20, steps=40)
    judge = WeightNovelty()
    judge.fit(zoo)
    networks = {name: value.clone() for name, value in zoo.all().x.items()}
    turn = torch.randperm(6, generator=draws)
    networks |= {"weight0": networks["weight0"][:, turn], "bias0": networks["bias0"][:, turn]}
    networks["weight1"] = networks["weight1"][:, :, turn]
    assert judge(Examples(networks), zoo.all())["novelty"] == 0
    held = zoo.split("test").all()
    found = judge(held, held)
    assert 0.8 < found["novelty"] < 1.3
    judge._train = torch.cat([judge._train, judge._train])
    assert judge(held, held) == pytest.approx(found)


def test_averages_of_networks_in_one_order_are_networks(draws):
    zoo = NetworkZoo(Table(), hidden=[16], n=40, steps=120)
    judge = NetworkQuality()
    judge.fit(zoo)
    found = {}
    for rule in (AverageNetwork(), AverageNetwork(rebasin=False), IndependentWeights()):
        rule.fit(zoo)
        found[rule.name] = judge(rule(zoo.split("test").all(), draws), zoo.all())
    assert found["average"]["accuracy"] > 0.9 > 0.7 > found["average, raw"]["accuracy"]
    assert found["average"]["disagreement"] == 0 < found["independent"]["disagreement"]


def test_points_scatter_about_the_line_and_the_velocity_is_its_own(draws):
    x0, x1, t = torch.zeros(4000, 2), torch.ones(4000, 2), torch.full((4000,), 0.3)
    point = NoisyPath(scatter=0.1).sample(x0, x1, t, generator=draws)
    assert torch.equal(point.velocity, x1 - x0)
    assert float((point.x_t - 0.3).std()) == pytest.approx(0.1, rel=0.05)
    assert float((point.x_t - 0.3).mean()) == pytest.approx(0, abs=0.01)
    with pytest.raises(ValueError, match="at least 0, got nan"):
        NoisyPath(scatter=float("nan"))


def test_the_network_starts_at_zero_and_is_as_large_as_the_papers():
    with torch.device("meta"):
        assert sum(p.numel() for p in Bottleneck(fl.Spec((99,)), width=512).parameters()) == 404_515
    small = Bottleneck(fl.Spec((7,)), width=8, time=4)
    assert torch.equal(small(torch.randn(3, 7), torch.rand(3)), torch.zeros(3, 7))


MNIST = """
import torch
from flowloom.data import Tensors

class Pictures(Tensors):
    def __init__(self):
        super().__init__(torch.zeros(10, 1, 28, 28), {"label": torch.arange(10)})
"""


def test_the_papers_size(tmp_path):
    (tmp_path / "fake.py").write_text(MNIST)
    (tmp_path / "full.yaml").write_text(
        json.dumps({"extends": "deepweightflow-mnist", "data": {"problem": "./fake.py:Pictures"}})
    )
    built = build(load_recipe(str(tmp_path / "full.yaml")))
    assert built["data"].spec.numel() == 26_506
    assert sum(p.numel() for p in built["model"].parameters()) == 404_515
    assert built["source"].std == 0.01


RECIPE = """
extends: deepweightflow-small
data: {hidden: [6], n: 12, steps: 15}
codec: {components: 8}
model: {width: 16, time: 4}
solver: {use: euler, steps: 4}
train: {steps: 6, batch: 4}
evaluate: {n: 12, questions: 12}
"""


def test_generated_networks_are_judged_and_recalibrated(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {"samples", "training data", "average", "average, raw", "independent"} <= set(found["columns"])
    asked = found["tasks"]["recalibrate"]["columns"]["samples"]
    assert 0 < asked["accuracy"] < 1
    assert (tmp_path / "run" / "made" / "data" / "train.safetensors").is_file()
    assert main(["eval", str(tmp_path / "run"), "--set", "solver.steps=2", "--out", "short"]) == 0


def test_statistics_are_those_of_the_batch_that_is_shown():
    zoo = NetworkZoo(Table(), hidden=[4], norm=True, n=3, steps=2)
    task = Recalibrate(rows=50)
    asked, _ = task.pose(zoo.split("test"), 3, torch.Generator().manual_seed(0))
    assert all(not value.any() for value in asked.x.values()), "nothing of the answer is in the question"
    spec = zoo.spec
    codec = WeightVectors(spec)
    codec.fit(zoo)
    flow = fl.Flow(Bottleneck(codec.spec, width=8, time=4), codec=codec, solver=fl.solvers.Euler(2))
    made = task(flow, asked, seed=1).x
    plain = flow.sample(3, seed=1)
    assert torch.allclose(made["weight0"], plain["weight0"])
    hidden = torch.einsum("nof,mf->nmo", made["weight0"], task._shown) + made["bias0"][:, None]
    assert torch.allclose(made["mean0"], hidden.mean(1), atol=1e-5)
    with pytest.raises(IncompatibleError, match="norm: true"):
        task.pose(NetworkZoo(Table(), n=2, steps=0), 2, torch.Generator())


def test_zoos_and_tables_that_cannot_be_are_told():
    for settings in ({"batch": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"steps": -1}, {"hidden": [0]}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            NetworkZoo(Table(), **settings)
    with pytest.raises(DataError, match=r"table iris, test=0\.001 of 149 rows"):
        Table(test=0.001).spec
    with pytest.raises(DataError, match=r"3 of 3 networks of the zoo .* an lr below 1e"):
        NetworkZoo(Table(), hidden=[4], n=3, steps=3, lr=1e20).make()
    with pytest.raises(DataError, match="count from 1, got 0"):
        WeightNovelty(rows=0).fit(NetworkZoo(Table(), hidden=[4], n=2, steps=0))


def test_networks_without_a_codec_and_times_without_a_size_are_told():
    with pytest.raises(IncompatibleError, match="codec: weights makes"):
        Bottleneck(NetworkZoo(Table(), hidden=[4], n=2).spec)
    with pytest.raises(ValueError, match="time must be at least 1"):
        Bottleneck(fl.Spec((3,)), time=0)
