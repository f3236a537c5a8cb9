"""Numbers at the edge of what they may be: types, sizes, rows that say nothing, conditions never asked so."""

from __future__ import annotations

import math
import threading
import warnings

import pytest
import torch

import flowloom as fl
from flowloom.codecs import Standardize
from flowloom.couplings import OptimalTransport, Sinkhorn, StableMatching
from flowloom.data import Examples, Tensors
from flowloom.errors import ShapeError
from flowloom.geometry import Box, Discrete
from flowloom.guidance import ClassifierFree
from flowloom.guidance.branches import lerp_logits
from flowloom.layout import Layout
from flowloom.metrics import CRPS, MSE, PSNR, BestOf, EnergyScore
from flowloom.models import MLP
from flowloom.models.overheard import overhear
from flowloom.objectives import Classification, FlowMatching, PosteriorMatching
from flowloom.schedules import VP, LinearVP
from flowloom.scores import Likelihood
from flowloom.solvers import Euler
from flowloom.sources import Uniform
from flowloom.spec import Condition, Spec
from flowloom.times import LogitNormal
from flowloom.times import Uniform as UniformTimes
from flowloom.weights import InverseSigma, MinSNR


@pytest.mark.parametrize(
    ("centre", "size", "dtype"),
    [(1.7e9, 1000.0, torch.float64), (1e6, 0.9, torch.float32), (0.0, 1e-13, torch.float32)],
)
def test_what_varies_is_standardised_wherever_it_lies(centre, size, dtype):
    x = (centre + size * torch.randn(1000, 2, dtype=torch.float64)).to(dtype)
    data = Tensors(x)
    codec = Standardize(data.spec)
    codec.fit(data)
    assert torch.allclose(codec.encode_state(x).std(0), torch.ones(2, dtype=dtype), atol=0.05)


def test_half_precision_one_row_and_constants_have_moments():
    tall = Tensors(10 + torch.randn(9000, 2).half())
    codec = Standardize(tall.spec)
    codec.fit(tall)
    assert torch.allclose(codec.mean, torch.full((2,), 10.0), atol=0.1)
    for alone in (Tensors(torch.randn(1, 3)), Tensors(torch.full((50, 3), 0.1))):
        codec = Standardize(alone.spec)
        codec.fit(alone)
        assert torch.equal(codec.std, torch.ones(3))


@pytest.mark.parametrize("coupling", [OptimalTransport(), StableMatching()], ids=["ot", "stable"])
def test_pairs_within_clusters_that_are_far_apart(coupling):
    draws = torch.Generator().manual_seed(0)
    side = torch.where(torch.arange(64) % 2 == 0, 1e4, -1e4)[:, None]
    x1 = side + torch.randn(64, 3, generator=draws)
    x0 = (side + torch.randn(64, 3, generator=draws))[torch.randperm(64, generator=draws)]
    found, exact = (coupling.rows(a, b, {}) for a, b in ((x0, x1), (x0.double(), x1.double())))
    assert torch.equal(found, exact)


def test_rows_of_which_nothing_counts_are_no_perfect_answers():
    x, truth = torch.zeros(4, 6), torch.ones(4, 6)
    given = torch.zeros(4, 6, dtype=torch.bool)
    given[:2] = True
    real = Examples(truth, {}, Layout(given=given))
    twice = Examples(torch.cat([x, x]))
    assert MSE()(Examples(x), real)["mse"] == pytest.approx(1)
    assert PSNR(data_range=1.0)(Examples(x), real)["psnr"] == pytest.approx(0)
    assert BestOf(2)(twice, real)["best_rmse"] == pytest.approx(1)
    assert CRPS(2)(twice, real)["crps"] == pytest.approx(1)
    assert EnergyScore(2)(twice, real)["energy_score"] == pytest.approx(1)
    nothing = Examples(truth, {}, Layout(given=torch.ones_like(given)))
    for metric in (MSE(), PSNR(data_range=1.0), BestOf(1)):
        with pytest.raises(ShapeError, match="nothing to judge"):
            metric(Examples(x), nothing)


def test_nats_are_shared_by_the_entries_that_were_scored():
    spec = Spec((6,), conditions={"mask": Condition(shape=(6,), role="real")})
    real = torch.ones(64, 6, dtype=torch.bool)
    real[::2, 1:] = False

    class Still(torch.nn.Module):
        def forward(self, x, t, **cond):
            return torch.zeros_like(x)

    flow = fl.Flow(Still(), spec=spec, solver=Euler(2))
    data = Tensors(torch.randn(64, 6) * real, {"mask": real}, spec=spec)
    some = Likelihood(Euler(2), n=32)(flow, data.all())
    rows = data.take(data.evenly(32))
    assert some["nats_per_dim"] == pytest.approx(
        some["nll"] / float(rows.cond["mask"].sum(1).double().mean())
    )


def two_conditions():
    spec = Spec((2,), conditions={"a": Condition(2), "b": Condition(2)})
    labels = torch.randint(0, 2, (64, 2))
    return Tensors(torch.randn(64, 2), {"a": labels[:, 0], "b": labels[:, 1]}, spec=spec)


def test_conditions_withheld_together_are_asked_together():
    data = two_conditions()
    flow = fl.Flow(MLP(data.spec, width=8), objective=FlowMatching(condition_dropout=0.2))
    with pytest.warns(UserWarning, match="no a given, which training never withheld without the rest"):
        flow.sample(2, b=1, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.sample(2, seed=0)
        flow.sample(2, a=0, b=1, seed=0)
    parts = {**flow.parts(), "spec": data.spec}
    (clash,) = ClassifierFree(2.0, conditions=("a",)).clashes(parts)
    assert "guidance withholds a and tells the rest" in clash.message
    assert not list(ClassifierFree(2.0, conditions=("a", "b")).clashes(parts))
    assert not list(ClassifierFree(2.0).clashes(parts))


def test_times_that_stop_early_and_judges_of_clean_states_clash():
    objective = FlowMatching(times=UniformTimes(latest=0.3))
    assert any("stops at 0.3 of the way" in clash.message for clash in objective.clashes({}))
    assert not [c for c in FlowMatching(times=UniformTimes(latest=0.999)).clashes({}) if "stops" in c.message]
    assert not Classification(noised=False).noised


def test_a_token_that_is_forbidden_stays_so_at_any_weight():
    told = torch.tensor([[0.0, -1.0, -torch.inf]]).log_softmax(-1)
    null = torch.tensor([[0.0, -torch.inf, -torch.inf]]).log_softmax(-1)
    found = lerp_logits(null, told, 3.0)
    assert not found.isnan().any()
    assert torch.equal(found.isneginf(), torch.tensor([[False, True, True]]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool], ids=str)
def test_ids_of_any_integers_are_tokens(dtype):
    ids = torch.randint(0, 2, (32, 6)).to(dtype)
    spec = Spec((6,), vocab=2)
    data = Tensors(ids, spec=spec)
    path = fl.paths.MixturePath(Discrete(2))
    flow = fl.Flow(
        MLP(spec, width=8), spec=spec, geometry=Discrete(2), objective=PosteriorMatching(path=path)
    )
    flow.fit(data, steps=1, batch=8)
    assert float(Discrete(2).violation(ids.long() + 2).max()) == 2
    assert float(Discrete(2).violation(ids).max()) == 0


def test_states_are_taken_in_the_precision_of_the_weights():
    spec = Spec((2,))
    flow = fl.Flow(MLP(spec, width=8), spec=spec, solver=Euler(2))
    for given in (torch.randn(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.long)):
        assert flow.solve(x0=given).x.dtype == torch.float32
        assert flow.log_prob(given).shape == (3,)
    with pytest.raises(ShapeError, match=r"states have the shape \(rows, 2\), got \(2,\)"):
        flow.log_prob(torch.zeros(2))


@pytest.mark.parametrize("high", [1e-5, 1.0, 1e6])
def test_outside_is_a_share_of_the_box(high):
    law = Uniform(Box(0.0, high))
    inside, outside = (torch.tensor([[share * high]]) for share in (0.5, 1.5))
    assert float(law.log_prob(inside)) == pytest.approx(-math.log(high), abs=1e-4)
    assert float(law.log_prob(outside)) == -math.inf
    step = torch.nextafter(torch.tensor([[high]]), torch.tensor(math.inf))
    assert float(law.log_prob(step)) == pytest.approx(-math.log(high), abs=1e-4)
    assert float(law.log_prob(torch.full((1, 1), math.nan))) == -math.inf


def test_who_overhears_hears_the_own_thread_alone():
    network = torch.nn.Sequential(torch.nn.Linear(1, 1))

    def ask():
        other = threading.Thread(target=lambda: network(torch.full((1, 1), 7.0)))
        answer = network(torch.ones(1, 1))
        other.start()
        other.join()
        return answer

    answer, heard = overhear(network, "0", ask)
    assert torch.equal(heard, answer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MinSNR(gamma=-1.0),
        lambda: InverseSigma(power=math.nan),
        lambda: VP(-1.0, 20.0),
        lambda: VP(20.0, -50.0),
        lambda: LinearVP(latest=2.0),
        lambda: LogitNormal(mean=math.nan),
        lambda: PSNR(data_range=math.inf),
        lambda: fl.metrics.SlicedWasserstein(projections=0),
        lambda: Sinkhorn(iterations=0),
        lambda: Sinkhorn(epsilon=1e-40),
        lambda: ClassifierFree(interval=(math.nan, math.nan)),
        lambda: fl.solvers.Dopri5(max_nfe=0),
        lambda: fl.solvers.EulerMaruyama(diffusion=math.nan),
        lambda: fl.views.Mask(1.0, 1.0),
    ],
)
def test_settings_without_a_meaning_are_refused(make):
    with pytest.raises(ValueError, match=r"must|finite|lies|at least|nothing|positive"):
        make()
