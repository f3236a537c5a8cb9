"""Glow: formulas against closed forms, exactness of its likelihood, and runs that go on bit for bit."""

import json
import math

import pytest
import torch

import flowloom as fl
from flowloom.data import Tensors
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.kinds import Kind
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_images.data import Digits
from flowloom_likelihood.bijections import (
    ActNorm,
    Bijection,
    Chain,
    Coupling,
    FactorOut,
    InvertibleConv,
    Prior,
    Reorder,
    Squeeze,
)
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.field import BijectionField, normal_log_prob
from flowloom_likelihood.models import Glow, LinearGaussian
from flowloom_likelihood.objective import ExactLikelihood
from flowloom_likelihood.score import BitsPerDim
from flowloom_likelihood.solver import Push
from flowloom_registry.cli import main

KIND = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")
SMALL = {"levels": 1, "steps": 2, "width": 8}


def glow_flow(seed=0, model=None, **settings):
    torch.manual_seed(seed)
    data = Digits()
    codec = Dequantize(data.spec, 17)
    path = fl.paths.AffinePath()
    model = model or Glow(codec.spec, **{**SMALL, **settings})
    flow = fl.Flow(
        model, spec=codec.spec, codec=codec, path=path, objective=ExactLikelihood(path), solver=Push()
    )
    return data, flow


# -- formulas ----------------------------------------------------------------------------------------

IMAGES = Spec(shape=(2, 4, 4), conditions={"label": Condition(3)})


@pytest.mark.parametrize(
    "make",
    [
        lambda: FactorOut(4, ActNorm(2)),
        lambda: Chain([Squeeze(), Coupling(16, 8), Squeeze(undo=True)]),
        lambda: Coupling(4, 8, "additive"),
        lambda: Reorder(4),
        lambda: Glow(IMAGES, levels=2, steps=2, width=8, conditional=True),
        lambda: Glow(IMAGES, levels=1, steps=2, width=8, mixing="shuffle", coupling="additive"),
        lambda: LinearGaussian(IMAGES),
    ],
)
def test_compositions_keep_the_laws_of_bijections(make):
    results = check(make, KIND)
    assert all(r.status == "passed" for r in results), [r.message for r in results]


class _NoPlaces(InvertibleConv):
    def transform(self, x, cond):
        y, log_det = super().transform(x, cond)
        return y, log_det / x[0, 0].numel()  # forgets that there are H W places


class _Leaky(ActNorm):
    def inverse(self, z, cond):
        return super().inverse(z, cond) + 1e-3


class _Cancels(ActNorm):
    """Exact on paper and in double precision; single precision loses six digits on the way."""

    def transform(self, x, cond):
        y, log_det = super().transform(x, cond)
        return y + 1e5, log_det

    def inverse(self, z, cond):
        return super().inverse(z - 1e5, cond)


class _LeavesOutTooMuch(Coupling):
    """Calls the log-determinant of a coupling a constant."""

    def unnormalised(self, x, cond):
        y, log_det = self.transform(x, cond)
        return y, torch.zeros_like(log_det)


class _Meets(ActNorm):
    def transform(self, x, cond):
        y, log_det = super().transform(x, cond)
        return y - y.mean(0), log_det


@pytest.mark.parametrize(
    ("make", "broken"),
    [
        (lambda: _NoPlaces(4), "check_log_det"),
        (lambda: _Leaky(4), "check_inverse"),
        (lambda: _Cancels(4), "check_inverse_in_single_precision"),
        (lambda: _LeavesOutTooMuch(4, 8), "check_unnormalised"),
        (lambda: _Meets(4), "check_rows_are_independent"),
    ],
)
def test_every_law_has_a_twin_that_breaks_it(make, broken):
    assert {r.name: r.status for r in check(make, KIND)}[broken] == "failed"


def test_the_1x1_convolution_starts_as_a_rotation_and_is_the_matrix_it_says():
    torch.manual_seed(0)
    conv, x = InvertibleConv(6), torch.randn(2, 6, 3, 3)
    torch.testing.assert_close(conv.weight @ conv.weight.T, torch.eye(6), atol=1e-5, rtol=0)
    with torch.no_grad():
        for p in conv.parameters():
            p.add_(0.3 * torch.randn_like(p))
    y, log_det = conv.transform(x, {})
    torch.testing.assert_close(y, torch.einsum("dc,nchw->ndhw", conv.weight, x))
    assert float(log_det[0]) == pytest.approx(9 * float(torch.linalg.slogdet(conv.weight)[1]), abs=1e-4)


def test_actnorm_gives_the_first_batch_mean_0_and_variance_1():
    x = 3 * torch.randn(50, 4, 2, 2) + torch.arange(4.0)[:, None, None]
    y = ActNorm(4).initialise(x, {})
    assert float(y.mean((0, 2, 3)).abs().max()) < 1e-5
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_a_coupling_starts_with_the_scale_sigmoid_2_and_no_shift():
    x = torch.randn(2, 4, 2, 2)
    y, log_det = Coupling(4, 8).transform(x, {})
    torch.testing.assert_close(y[:, :2], x[:, :2] * torch.sigmoid(torch.tensor(2.0)))
    assert torch.equal(y[:, 2:], x[:, 2:])
    assert float(log_det[0]) == pytest.approx(8 * math.log(torch.sigmoid(torch.tensor(2.0))), abs=1e-5)


def test_the_density_of_a_bijection_integrates_to_one():
    torch.manual_seed(0)
    model = Prior(1).double()
    with torch.no_grad():
        model.moments.copy_(torch.tensor([0.7, -0.4]))
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    density = BijectionField(model).log_prob(x, {}).exp()
    assert float(torch.trapezoid(density, x.flatten())) == pytest.approx(1, abs=1e-9)


def test_the_prior_knows_the_class_and_the_density_with_it():
    model = Prior(2, {"label": Condition(3)})
    torch.nn.init.normal_(model.read.weight)
    x = torch.randn(1, 2, 1, 1)
    ends = [model.transform(x, {"label": torch.tensor([k])})[0] for k in (0, 1)]
    assert not torch.allclose(*ends)


def test_temperature_scales_the_noise_and_keeps_the_density_exact():
    field = BijectionField(Prior(1).double())
    hot = {"temperature": torch.tensor([0.7], dtype=torch.float64)}
    z = torch.tensor([[[[1.3]]]], dtype=torch.float64)
    x = field(z, None, hot)
    assert float(x) == pytest.approx(0.7 * 1.3)
    assert float(field.log_prob(x, hot)) == pytest.approx(float(normal_log_prob(z)) - math.log(0.7))
    assert float(field.pull(x, hot)[0]) == pytest.approx(1.3)


# -- dequantisation and bits --------------------------------------------------------------------------


def test_dequantisation_fills_cells_evenly_and_decodes_exactly():
    data = Digits()
    codec, examples = Dequantize(data.spec, 17), data.all()
    states = codec.encode(examples, torch.Generator().manual_seed(0))
    within = (states.x + 0.5) * 17 % 1
    assert float(within.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(within.std()) == pytest.approx(12**-0.5, abs=0.005)
    torch.testing.assert_close(codec.decode(states).x, examples.x)
    assert float(states.x.min()) >= -0.5
    assert float(states.x.max()) < 0.5
    assert torch.equal(codec.encode(examples).x, codec.encode(examples).x)


def test_data_of_other_levels_are_refused():
    data, flow = glow_flow()
    with pytest.raises(DataError, match="not of 256 levels"):
        Dequantize(data.spec, 256).fit(data, flow)


class _Uniform(Bijection):
    """The exact bijection of the uniform law on [-1/2, 1/2] to the normal one."""

    spec = None

    def transform(self, x, cond):
        z = torch.special.ndtri((x + 0.5).double().clamp(1e-12, 1 - 1e-12))
        return z, -normal_log_prob(z)

    def inverse(self, z, cond):
        return torch.special.ndtr(z) - 0.5


@pytest.mark.parametrize("draws", [1, 4])
def test_the_uniform_law_takes_log2_of_the_levels(draws):
    data, flow = glow_flow(model=_Uniform())
    states = flow.encode(data.take(torch.arange(50)), torch.Generator().manual_seed(0))
    assert BitsPerDim(draws)(flow, states)["bits_per_dim"] == pytest.approx(math.log2(17), abs=1e-6)


def test_several_draws_of_the_noise_tighten_the_bound():
    data, flow = glow_flow()
    flow.fit_parts(data)
    states = flow.encode(data.take(torch.arange(200)), torch.Generator().manual_seed(0))
    assert BitsPerDim(16)(flow, states)["bits_per_dim"] < BitsPerDim(1)(flow, states)["bits_per_dim"]


def test_the_gaussian_is_the_closed_form():
    x = torch.randn(500, 3) @ torch.randn(3, 3) + 2
    model = LinearGaussian(Spec(shape=(3,)), ridge=0.0)
    model.fit(Tensors(x))
    law = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    torch.testing.assert_close(
        BijectionField(model).log_prob(x[:9], {}), law.log_prob(x[:9]), atol=1e-3, rtol=0
    )


# -- training, resuming, sampling ---------------------------------------------------------------------


def test_the_loss_is_the_exact_density_and_the_start_is_normalised():
    data, flow = glow_flow()
    assert "model" in flow.fit_parts(data)
    states = flow.encode(data.take(torch.arange(300)), torch.Generator().manual_seed(0))
    first = flow.model.net.links[1].links[0].transform(flow.model.net.links[0].transform(states.x, {})[0], {})
    assert float(first[0].std((0, 2, 3)).sub(1).abs().max()) < 0.1
    loss = flow.objective.loss(flow.model, fl.objectives.Batch(states.x, states.x), fl.objectives.Step())
    assert float(loss.total) == pytest.approx(
        -float(flow.log_prob(states.x).mean()) / (64 * math.log(2)), abs=1e-5
    )


def test_a_killed_run_goes_on_with_the_same_bits_and_is_not_normalised_again(tmp_path):
    def make(seed):
        data, flow = glow_flow(seed)
        config = TrainConfig(steps=8, batch=16, lr=1e-3, log_every=1, ema=0.9)
        return data, flow, config

    def run(trainer, until=None):
        for _ in trainer.run(until):
            pass

    data, flow, config = make(0)
    flow.fit_parts(data, seed=4)
    whole = flow.trainer(data, config, seed=4)
    run(whole, 3)
    folder = save_checkpoint(whole, tmp_path)
    run(whole)
    _, other, _ = make(7)
    second = other.trainer(data, config, seed=4)
    load_checkpoint(second, folder)
    run(second)
    a, b = whole.flow.state_dict(), second.flow.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(whole.averaged().sample(3, seed=1), second.averaged().sample(3, seed=1))


def test_sampling_is_one_evaluation_and_latents_come_back():
    data, flow = glow_flow()
    flow.fit_parts(data)
    solution = flow.solve(5, seed=0, keep=5)
    assert solution.nfe == 1
    assert solution.times == (0.0, 1.0)
    back = flow.solve(x0=solution.x, span=(1.0, 0.0)).x
    torch.testing.assert_close(back, solution.trajectory[0], atol=1e-4, rtol=0)
    cold = flow.solve(200, seed=0, cond={"temperature": 0.1}).x
    assert float(cold.std(0).mean()) < 0.2 * float(flow.solve(200, seed=0).x.std(0).mean())


def test_what_does_not_fit_is_told():
    data, flow = glow_flow()
    flow.source = fl.sources.Gaussian(0.7)
    with pytest.raises(IncompatibleError, match="temperature"):
        flow.objective.turns(flow)
    with pytest.raises(IncompatibleError, match="bijection as its model"):
        flow.objective.field(fl.models.MLP(data.spec))
    with pytest.raises(ShapeError, match="divisible by 16"):
        Glow(data.spec, levels=4)
    with pytest.raises(IncompatibleError, match="bits-per-dim"):
        BitsPerDim().require(fl.Flow(fl.models.MLP(data.spec)))


def test_the_papers_size_on_cifar10():
    with torch.device("meta"):
        model = Glow(Spec(shape=(3, 32, 32)), levels=3, steps=32, width=512)
        assert model.transform(torch.zeros(1, 3, 32, 32), {})[0].shape == (1, 3, 32, 32)
    count = sum(p.numel() for p in model.parameters())
    wanted = 0
    for c in (12, 24, 48):
        coupling = 9 * (c // 2) * 512 + 512 * 512 + 2 * 2 * 512 + 9 * 512 * c + 2 * c
        wanted += 32 * (2 * c + 2 * c * c + c + coupling)
        wanted += 9 * (c // 2) * c + 2 * c if c < 48 else 2 * c
    assert count == wanted
    assert round(count / 1e6) == 44


def test_the_recipes_run_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    small = ["--device", "cpu", "--set", "train.steps=4", "--set", "model.steps=1", "--set", "metrics=[]"]
    assert main(["run", "digits-glow", "--out", str(out), *small]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["scores"]["held-out data"]["bits_per_dim"] > 0
    assert main(["sample", str(out), "-n", "4", "--cond", "temperature=0.7", "--device", "cpu"]) == 0
    assert (out / "samples" / "drawn" / "samples.safetensors").is_file()
    assert main(["run", "digits-gaussian-fit", "--out", str(tmp_path / "fit"), "--device", "cpu"]) == 0
    fit = json.loads((tmp_path / "fit" / "evaluation.json").read_text())
    assert 2 < fit["scores"]["held-out data"]["bits_per_dim"] < math.log2(17)
