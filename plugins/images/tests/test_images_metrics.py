"""Metrics: formulas against closed forms, and the judge on real digits."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.models import MLP
from flowloom.trained import Trained
from flowloom_images.data import Digits
from flowloom_images.metrics import (
    ClassAccuracy,
    ClassifierFrechet,
    ImageQuality,
    PrecisionRecall,
    frechet_distance,
    gaussian_frechet,
    judge_of,
    precision_recall,
    train_judge,
)
from flowloom_images.metrics import judge as judge_module


def spd(d: int, seed: int) -> torch.Tensor:
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T + 0.1 * torch.eye(d, dtype=torch.float64)


def test_frechet_of_commuting_covariances():
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    mean_a, mean_b = torch.zeros(3), torch.tensor([1.0, 2.0, 2.0])
    # 9 from the means; (1-2)^2 + 0 + (3-1)^2 from the deviations.
    assert gaussian_frechet(mean_a, a.diag(), mean_b, b.diag()) == pytest.approx(14.0, abs=1e-9)


def test_frechet_of_general_covariances_against_the_matrix_root():
    from scipy.linalg import sqrtm

    c, d, m = spd(6, 0), spd(6, 1), torch.arange(6.0)
    root = sqrtm((c @ d).numpy())
    expected = float(m.square().sum() + c.trace() + d.trace()) - 2 * float(root.trace().real)
    assert gaussian_frechet(torch.zeros(6), c, m, d) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_symmetric_zero_on_itself_and_rotation_invariant():
    c, d = spd(5, 2), spd(5, 3)
    m, n = torch.randn(5).double(), torch.randn(5).double()
    value = gaussian_frechet(m, c, n, d)
    assert gaussian_frechet(n, d, m, c) == pytest.approx(value, rel=1e-9)
    assert gaussian_frechet(m, c, m, c) == pytest.approx(0, abs=1e-6)
    q = torch.linalg.qr(torch.randn(5, 5).double()).Q
    turned = gaussian_frechet(q @ m, q @ c @ q.T, q @ n, q @ d @ q.T)
    assert turned == pytest.approx(value, rel=1e-9)


def test_frechet_of_singular_covariances():
    # Two segments at a right angle: rank one each, and nothing shared.
    c, d = torch.diag(torch.tensor([4.0, 0.0])), torch.diag(torch.tensor([0.0, 9.0]))
    assert gaussian_frechet(torch.zeros(2), c, torch.zeros(2), d) == pytest.approx(13.0)
    assert gaussian_frechet(torch.zeros(2), c, torch.zeros(2), c) == pytest.approx(0.0, abs=1e-9)


def test_frechet_of_samples_converges_and_uses_sample_moments():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 2, generator=g)
    y = torch.randn(20_000, 2, generator=g) * torch.tensor([2.0, 1.0]) + torch.tensor([3.0, 0.0])
    assert frechet_distance(x, y) == pytest.approx(10.0, rel=0.03)
    few = torch.tensor([[0.0], [2.0]])  # variance 2 by n - 1
    assert frechet_distance(few, torch.tensor([[1.0], [1.0]])) == pytest.approx(2.0)
    assert math.isnan(frechet_distance(x, y * float("nan")))
    with pytest.raises(ShapeError, match="n, m >= 2"):
        frechet_distance(x[:1], y)


def test_precision_and_recall_on_constructed_sets():
    line = torch.arange(10.0)[:, None]
    # Radius 1 around every point: [-1, 10] is covered.
    assert precision_recall(torch.tensor([[0.5], [8.9], [9.5], [11.5]]), line, k=1)[0] == 0.75
    # Samples that sit at one end: all precise, and they cover what lies within their own radius.
    samples = torch.tensor([[0.0], [0.5], [1.0]])
    precision, recall = precision_recall(samples, line, k=1)
    assert precision == 1.0
    assert recall == 0.2  # only 0 and 1 lie within 0.5 of a sample
    precision, recall = precision_recall(line + 100, line, k=3)
    assert (precision, recall) == (0.0, 0.0)
    assert precision_recall(line, line, k=3) == (1.0, 1.0)


def test_precision_and_recall_are_each_others_mirror_and_chunking_changes_nothing():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(60, 3, generator=g), 1.5 * torch.randn(45, 3, generator=g)
    assert precision_recall(a, b) == tuple(reversed(precision_recall(b, a)))
    assert precision_recall(a, b, chunk=7) == precision_recall(a, b)
    assert 0 < precision_recall(a, b)[1] < precision_recall(a, b)[0] <= 1


def test_third_neighbour_means_third():
    # Distances from 0: 1, 2, 3, 10. The third neighbour of 0 is at 3.
    real = torch.tensor([[0.0], [1.0], [-2.0], [3.0], [10.0]])
    inside = torch.tensor([[-4.9]])  # within 5 of -2 (its third neighbour 3), within 3 of nothing else
    samples = torch.cat([inside, torch.full((4, 1), 1000.0)])
    assert precision_recall(samples, real, k=3)[0] == pytest.approx(0.2)
    with pytest.raises(ShapeError, match="more than k points"):
        precision_recall(real[:3], real, k=3)


@pytest.fixture(scope="module")
def digits():
    return Digits()


def test_the_judge_knows_held_out_digits_and_leaves_the_random_state_alone(digits):
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    quality = ImageQuality()
    quality.fit(digits)
    held, train = digits.split("test").all(), digits.all()
    floor = quality(held, train)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert floor["class_accuracy"] >= 0.97
    assert floor["frechet"] < 2
    assert floor["precision"] > 0.8
    assert floor["recall"] > 0.8
    noise = Examples(torch.rand(len(held), 1, 8, 8) * 2 - 1, held.cond)
    bad = quality(noise, train)
    assert bad["frechet"] > 20 * floor["frechet"]
    assert bad["class_accuracy"] < 0.4
    assert set(floor) == set(ImageQuality.better)
    assert "class_accuracy" not in quality(Examples(held.x), train)


def test_single_metrics_agree_with_the_whole_and_share_its_judge(digits, monkeypatch):
    judge_of(digits)

    def fail(*_, **__):
        raise AssertionError("the judge was trained again")

    monkeypatch.setattr(judge_module, "train_judge", fail)
    held, train = digits.split("test").all(), digits.all()
    values = {}
    for metric in (ClassifierFrechet(), PrecisionRecall(), ClassAccuracy(), ImageQuality()):
        metric.fit(digits)
        new = metric(held, train)
        assert set(new) == set(metric.better)
        assert all(values.get(name, value) == value for name, value in new.items())
        values.update(new)


def test_the_same_seed_gives_the_same_judge(digits):
    a, b = (train_judge(digits, steps=5, seed=3) for _ in range(2))
    c = train_judge(digits, steps=5, seed=4)
    x = digits.take(torch.arange(10)).x
    assert torch.equal(a.logits(x), b.logits(x))
    assert not torch.equal(a.logits(x), c.logits(x))
    assert not any(p.requires_grad for p in a.trained.parameters())
    assert not a.trained.training


def test_judges_fit_other_shapes():
    g = torch.Generator().manual_seed(0)
    for shape in ((3, 28, 28), (1, 4, 4), (2, 9, 17)):
        data = Tensors(torch.randn(8, *shape, generator=g), {"label": torch.arange(8) % 2})
        judge = train_judge(data, steps=2)
        assert judge.logits(data.all().x).shape == (8, 2)
        assert judge.features(data.all().x).shape == (8, 64)


def test_a_classifier_of_another_run_judges_in_place_of_one_of_its_own(digits):
    trained = train_judge(digits, steps=5).trained
    held, train = digits.split("test").all(), digits.all()
    own, given = ImageQuality(judge_steps=5), ImageQuality(judge=trained)
    own.fit(digits)
    assert given(held, train) == own(held, train)
    with pytest.raises(IncompatibleError, match="the run given trained MLP; take one of model: image-class"):
        ImageQuality(judge=Trained(Flow(MLP(digits.spec))))


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)[:, :2]


def test_given_features_replace_the_judge():
    x, y = torch.randn(50, 1, 2, 2), torch.randn(50, 1, 2, 2)
    value = ClassifierFrechet(features=pixels)(Examples(x), Examples(y))["frechet"]
    assert value == pytest.approx(frechet_distance(pixels(x), pixels(y)))


def test_a_recipe_that_is_not_trusted_imports_no_features(tmp_path, monkeypatch):
    from flowloom_registry import build, load_recipe
    from flowloom_registry.errors import ConfigError

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nf = len\n")
    recipe = tmp_path / "r.yaml"
    head = "data: {use: digits}\nmodel: {use: mlp, width: 8}\n"
    for written in ("evil:f", "./evil.py:f"):
        for use in ("classifier-frechet", "precision-recall", "image-quality"):
            recipe.write_text(f"{head}metrics: [{{use: {use}, features: '{written}'}}]\n")
            with pytest.raises(ConfigError, match=r"metrics\[0\].features: .* is code that no .* --trust"):
                build(load_recipe(recipe, trusted=False))
            assert not (tmp_path / "ran").exists()
    assert build(load_recipe(recipe))["metrics"][0]._given is len
    text = build(load_recipe(recipe)).resolved()
    assert f"features: {tmp_path}/evil.py:f" in text


def test_no_classes_no_judge_and_no_fit_no_judge():
    metric = ClassifierFrechet()
    x = Examples(torch.randn(8, 1, 8, 8))
    with pytest.raises(IncompatibleError, match="call fit"):
        metric(x, x)
    metric.fit(Tensors(torch.randn(8, 1, 8, 8)))
    with pytest.raises(IncompatibleError, match="no classes"):
        metric(x, x)
    with pytest.raises(IncompatibleError, match="carry no 'label'"):
        ClassAccuracy()(x, x)


def test_metrics_travel_to_other_processes():
    pickle.loads(pickle.dumps(ImageQuality(k=5, seed=2)))
