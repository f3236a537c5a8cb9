"""Lengths, directions, and that pruning rejects what is near an empty axis and nothing else."""

import math

import pytest
import torch
from torch.nn import functional as F

from flowloom.data import Examples, Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.sources import Gaussian
from flowloom_foundations.better_source import ChiArcs, ChiSphere, NearestData, NormAligned, Pruned


def test_a_chi_sphere_is_a_gaussian_where_the_degrees_are_the_dimension(draws):
    x = ChiSphere(3, radius=math.sqrt(3)).noise((40_000, 3), Draw(draws))
    assert (torch.cov(x.T) - torch.eye(3)).abs().max() < 0.03
    assert abs(float(x.pow(4).mean()) - 3) < 0.15
    thin = ChiSphere().noise((4000, 2), Draw(draws)).norm(dim=1)
    assert abs(float(thin.square().mean()) - 1) < 0.01
    assert abs(float(thin.std()) - 1 / math.sqrt(2 * 3072)) < 1e-3


def test_aligned_noise_is_as_long_as_the_data(draws):
    data = Tensors(3 + 0.1 * torch.randn(500, 2, 4, generator=draws))
    source = NormAligned(Gaussian(2.0))
    source.fit(data, None, draws)
    both = source.noise((20_000, 2, 4), Draw(draws)), data.all().x
    lengths = [v.flatten(1).norm(dim=1).mean() for v in both]
    assert abs(float(lengths[0] / lengths[1]) - 1) < 0.02
    other = NormAligned(Gaussian(2.0))
    other.load_state_dict(source.state_dict())
    assert torch.equal(other.ratio, source.ratio)
    with pytest.raises(DataError, match="has none"):
        source.fit(None)


def test_padding_has_no_length(draws):
    x, real = (
        torch.randn(500, 4, 2, generator=draws),
        torch.arange(4) < torch.tensor([[2], [4]]).repeat(250, 1),
    )
    x[~real] = 100.0
    source = NormAligned()
    source.fit(Tensors(x, {"real": real}, roles={"real": "real"}), None, draws)
    assert float(source.ratio) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(IncompatibleError, match="the state has parts"):
        source.fit(Tensors({"a": x, "b": x}), None, draws)


def test_failures_do_not_depend_on_where_the_origin_is(draws):
    data, samples = torch.randn(200, 2, generator=draws).half().float(), torch.randn(50, 2, generator=draws)
    samples = 3 + samples.half().float()
    found = []
    for off in (0.0, 8192.0):
        metric = NearestData(within=1.0)
        metric.fit(Tensors(data + off))
        found.append(metric(Examples(samples + off), Examples(data)))
    assert found[0] == pytest.approx(found[1], rel=0.01)
    lost = Examples(torch.full((1, 2), math.nan))
    assert all(math.isnan(value) for value in metric(lost, lost).values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: NearestData(within=math.nan),
        lambda: Pruned(empty=2.0),
        lambda: Pruned(threshold=math.nan),
    ],
)
def test_settings_without_sense(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_empty_axes_are_those_with_no_data_and_only_they_are_rejected(draws):
    """Data along +e1 and both ways of e2 in three dimensions: -e1 and both signs of e3 are empty."""
    x = torch.zeros(300, 3)
    x[:200, 0], x[200:250, 1], x[250:, 1] = 1.0, 1.0, -1.0
    source = Pruned(empty=0.2, threshold=0.7)
    source.fit(Tensors(x), None, draws)
    found = source.axes[source.axes.norm(dim=1) > 0]
    wanted = torch.tensor([[-1.0, 0, 0], [0, 0, 1], [0, 0, -1]])
    assert torch.allclose(torch.sort(found @ wanted.T, 0).values[-1], torch.ones(3), atol=1e-5)
    assert len(found) == 3
    noise = source.noise((20_000, 3), Draw(draws))
    cosine = F.normalize(noise, dim=1) @ wanted.T
    assert cosine.max() <= 0.7 + 1e-6
    # What is left is the Gaussian, given that it is left.
    plain = torch.randn(100_000, 3, generator=draws)
    kept = plain[(F.normalize(plain, dim=1) @ wanted.T).amax(1) <= 0.7]
    assert (noise.mean(0) - kept.mean(0)).abs().max() < 0.03
    assert abs(float(noise.norm(dim=1).mean() / kept.norm(dim=1).mean()) - 1) < 0.01
    assert (noise[:, 0] > 0.9 * noise.norm(dim=1)).any(), "directions of data stay"


def test_pruning_that_leaves_nothing_says_so(draws):
    source = Pruned(empty=0.5, threshold=-0.9, rounds=3)
    source.fit(ChiArcs(100), None, draws)
    with pytest.raises(IncompatibleError, match="leaves next to no direction"):
        source.noise((50, 2), Draw(draws))


def test_the_arcs_leave_one_axis_empty(draws):
    source = Pruned(empty=0.2, threshold=0.5)
    source.fit(ChiArcs(), None, draws)
    (axis,) = source.axes[source.axes.norm(dim=1) > 0]
    assert 228.5 < float(torch.rad2deg(torch.atan2(axis[1], axis[0]))) % 360 < 331.5


def test_arcs_and_failures():
    data = ChiArcs(20_000).all().x
    assert abs(float(data.norm(dim=1).square().mean()) - 625 / 3072) < 1e-3
    angle = torch.rad2deg(torch.atan2(data[:, 1], data[:, 0])) % 360
    for middle, weight in ((60, 0.05), (100, 0.3), (140, 0.65)):
        assert abs(float(((angle - middle).abs() <= 10).float().mean()) - weight) < 0.02
    metric = NearestData(within=0.5)
    metric.fit(Tensors(torch.zeros(3, 2)))
    x = torch.tensor([[0.3, 0.0], [0.0, 1.0]])
    assert metric(Examples(x), Examples(x)) == pytest.approx({"failure_rate": 0.5, "nearest_distance": 0.65})


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    assert survives_a_kill("better-source-aligned")["source.ratio"] < 1


def test_the_papers_size(at_paper_scale):
    pytest.importorskip("flowloom_images")
    built = at_paper_scale("better-source-cifar10", (3, 32, 32), views=[], stages=None, metrics=[])
    size = sum(p.numel() for p in built["model"].parameters())
    assert size == 35_746_307  # torchcfm's U-Net
    assert isinstance(built["source"], NormAligned)
