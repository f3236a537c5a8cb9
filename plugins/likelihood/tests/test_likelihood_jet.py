"""Jet: the coupling by hand, both splits, the laws of bijections, and runs that go on bit for bit."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.errors import ShapeError
from flowloom.kinds import Kind
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_images.data import Digits
from flowloom_likelihood.bijections.patch_coupling import PatchCoupling, TokenNet
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.models import Jet
from flowloom_likelihood.objective import ExactLikelihood
from flowloom_likelihood.solver import Push

KIND = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")
SMALL = {"patch": 2, "couplings": 3, "depth": 1, "width": 8, "heads": 2, "spatial_every": 2}


@pytest.mark.parametrize(
    "changes", [{}, {"shuffled": True}, {"network": "conv", "spatial_every": 0, "shuffled": True}]
)
def test_jet_keeps_the_laws_of_bijections(changes):
    results = check(lambda: Jet(Spec(shape=(1, 4, 4)), **{**SMALL, **changes}), KIND)
    assert all(r.status == "passed" for r in results), [r.message for r in results]


def test_it_starts_as_a_rearrangement_of_nothing():
    x = torch.randn(2, 1, 4, 4)
    z, log_det = Jet(Spec(shape=(1, 4, 4)), **SMALL).transform(x, {})
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(2), atol=1e-5, rtol=0)


HALVES = {"checkerboard": ([0, 3], [1, 2]), "columns": ([0, 2], [1, 3]), "rows": ([0, 1], [2, 3])}


@pytest.mark.parametrize("split", HALVES)
@pytest.mark.parametrize("flip", [False, True])
def test_a_coupling_by_hand(split, flip):
    """y2 = (x2 + b) 2 sigmoid(r), on halves of 2 x 2 tokens, each token cut into two for the network."""
    torch.manual_seed(0)
    net = TokenNet(4, 2, 4, 8, 1, 2)
    torch.nn.init.normal_(net.out.weight)
    x = torch.randn(3, 4, 4)
    y, log_det = PatchCoupling(net, split, (2, 2), 4, flip).transform(x, {})
    still, moving = reversed(HALVES[split]) if flip else HALVES[split]
    shift, raw = net(x[:, still].reshape(3, 4, 2)).chunk(2, -1)
    torch.testing.assert_close(y[:, still], x[:, still])
    wanted = (x[:, moving].reshape(3, 4, 2) + shift) * 2 * torch.sigmoid(raw)
    torch.testing.assert_close(y[:, moving], wanted.reshape(3, 2, 4))
    torch.testing.assert_close(log_det, (2 * torch.sigmoid(raw)).log().sum((1, 2)))


def test_sampling_and_inference_cost_one_transformer_a_coupling():
    model, calls = Jet(Spec(shape=(1, 4, 4)), **SMALL), []
    for module in model.modules():
        if isinstance(module, TokenNet):
            module.register_forward_hook(lambda *_: calls.append(1))
    model.inverse(torch.randn(2, 1, 4, 4), {})
    assert len(calls) == 3


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        data, path = Digits(), fl.paths.AffinePath()
        codec = Dequantize(data.spec, 17)
        flow = fl.Flow(
            Jet(codec.spec, **SMALL), spec=codec.spec, codec=codec, path=path,
            objective=ExactLikelihood(path), solver=Push(),
        )  # fmt: skip
        return flow, flow.trainer(data, TrainConfig(steps=6, batch=8, log_every=1, ema=0.9), seed=4)

    flow, whole = make(0)
    for _ in whole.run(3):
        pass
    folder = save_checkpoint(whole, tmp_path)
    for _ in whole.run():
        pass
    other, second = make(7)
    load_checkpoint(second, folder)
    for _ in second.run():
        pass
    a, b = flow.state_dict(), other.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_what_does_not_fit_is_told():
    with pytest.raises(ShapeError, match="divisible by patch 3"):
        Jet(Spec(shape=(1, 8, 8)), patch=3)
    assert math.isclose(2 * torch.sigmoid(torch.tensor(0.0)).item(), 1)


def test_places_that_cannot_be_halved_are_told():
    with pytest.raises(ShapeError, match="no equal halves"):
        Jet(Spec((1, 12, 12)), patch=4, couplings=5, depth=1, width=8, heads=2)
