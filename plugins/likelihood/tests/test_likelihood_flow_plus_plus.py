"""Flow++: mixtures of logistics against SciPy, its dequantiser's bound, and laws with wrong twins."""

import math

import pytest
import scipy.stats
import torch

import flowloom as fl
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.kinds import Kind
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_images.data import Digits
from flowloom_likelihood.bijections.gated_net import GatedNet
from flowloom_likelihood.bijections.halves import halves, joined
from flowloom_likelihood.bijections.logistic_mixture import LogisticMixture
from flowloom_likelihood.bijections.mixture_coupling import MixtureCoupling
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.dequantizers import UniformDequantizer, log_probability
from flowloom_likelihood.dequantizers.flow import FlowDequantizer
from flowloom_likelihood.field import BijectionField, normal_log_prob
from flowloom_likelihood.models import FlowPlusPlus, Glow
from flowloom_likelihood.objective import ExactLikelihood
from flowloom_likelihood.score import BitsPerDim
from flowloom_likelihood.solver import Push

BIJECTION = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")
DEQUANTIZER = Kind(
    "dequantizer", "flowloom_likelihood.dequantizers:Dequantizer", "", "flowloom_likelihood.dequantizers.laws"
)
IMAGES = Spec(shape=(1, 4, 4))
NET = {"filters": 8, "blocks": 1, "components": 2, "heads": 2}
LAYOUT = ("checkerboard", "checkerboard", "squeeze", "channels")


def mixture(dtype=torch.float64):
    said = torch.tensor([0.1, 0.2, 1.0, -1.0, 0.0, 1.0, -2.0, 0.0, 0.2], dtype=dtype)
    return LogisticMixture.of(said)


def test_the_mixture_is_that_of_scipy():
    x, mix = torch.linspace(-5, 5, 41, dtype=torch.float64), mixture()
    law = scipy.stats.logistic(mix.means.numpy(), mix.log_scales.exp().numpy())
    weights = mix.log_weights.exp().numpy()
    cdf, pdf = ((f(x[:, None].numpy()) * weights).sum(-1) for f in (law.cdf, law.pdf))
    wide = LogisticMixture(*(v.expand(41, 3) for v in (mix.log_weights, mix.means, mix.log_scales)))
    torch.testing.assert_close(wide.logit(x).sigmoid(), torch.from_numpy(cdf))
    slope = torch.from_numpy(pdf / cdf / (1 - cdf))
    torch.testing.assert_close(wide.log_slope(x).exp(), slope, rtol=1e-6, atol=0)


@pytest.mark.parametrize("far", [-300.0, 300.0])
def test_tails_keep_their_logarithms_in_single_precision(far):
    """The distribution function is 0 or 1 there, and its logarithm would be infinite."""
    mix, x = mixture(torch.float32), torch.tensor(far)
    assert float(mix.logit(x).sigmoid()) in (0.0, 1.0)
    assert torch.isfinite(mix.logit(x))
    assert float(mix.log_slope(x)) == pytest.approx(-0.2, abs=1e-4)  # of the widest component
    assert float(mix.quantile(mix.logit(x))) == pytest.approx(far, abs=1e-3)


def test_quantiles_have_the_derivatives_of_the_inverse():
    mix = mixture()
    said = torch.stack([mix.log_weights, mix.means, mix.log_scales]).requires_grad_()
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, t: LogisticMixture(s[0], s[1], s[2]).quantile(t), (said, t), atol=1e-4
    )


def test_the_halves_are_colours_of_a_checkerboard():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    first, second = halves(x, "checkerboard")
    assert first[0, 0].tolist() == [[0, 2], [5, 7], [8, 10], [13, 15]]
    assert torch.equal(joined(first, second, "checkerboard"), x)
    assert torch.equal(joined(*halves(x.reshape(1, 4, 2, 2), "channels"), "channels"), x.reshape(1, 4, 2, 2))


@pytest.mark.parametrize("changes", [{}, {"components": 0}, {"heads": 0}])
def test_flow_plus_plus_keeps_the_laws_of_bijections(changes):
    results = check(lambda: FlowPlusPlus(IMAGES, LAYOUT, **{**NET, **changes}), BIJECTION)
    assert all(r.status == "passed" for r in results), [r.message for r in results]


class _ForgetsTheLogit(MixtureCoupling):
    """Its log-determinant is that of the distribution function alone."""

    def transform(self, x, cond):
        y, log_det = super().transform(x, cond)
        still, moving = self._halves(x)
        mix = self._said(still, cond).mixture
        logit = mix.logit(moving)
        return y, log_det + (logit.sigmoid() * (-logit).sigmoid()).log().flatten(1).sum(1)


class _ForgetsTheSigmoid(FlowDequantizer):
    """log q is that of what goes into the sigmoid."""

    def place(self, noise, x, cond):
        logit, log_det = self.net.transform(noise, self._told(x, cond))
        return logit.sigmoid(), normal_log_prob(noise) - log_det


def test_a_forgotten_jacobian_breaks_a_law():
    net = lambda: GatedNet((1, 2, 2), 8, 8, 1, 2)  # noqa: E731
    results = check(lambda: _ForgetsTheLogit(net(), "checkerboard", 2), BIJECTION)
    assert {r.name: r.status for r in results}["check_log_det"] == "failed"
    results = check(lambda: _ForgetsTheSigmoid(IMAGES, 1, context=4, **NET), DEQUANTIZER)
    assert {r.name: r.status for r in results}["check_density"] == "failed"


class _Beyond(UniformDequantizer):
    def place(self, noise, x, cond):
        u, log_q = super().place(noise, x, cond)
        return u + 0.5, log_q


class _Meets(UniformDequantizer):
    def place(self, noise, x, cond):
        return super().place(noise + x.mean(0), x, cond)


@pytest.mark.parametrize(
    ("make", "broken"), [(_Beyond, "check_within"), (_Meets, "check_rows_are_independent")]
)
def test_every_law_of_dequantizers_has_a_twin_that_breaks_it(make, broken):
    assert {r.name: r.status for r in check(make, DEQUANTIZER)}[broken] == "failed"


def digits_flow(dequantizer=None, logit=0.0, model=None):
    torch.manual_seed(0)
    data, path = Digits(), fl.paths.AffinePath()
    codec = Dequantize(data.spec, 17, logit)
    objective = ExactLikelihood(path, codec, dequantizer)
    model = model or Glow(codec.spec, levels=1, steps=1, width=8)
    return data, fl.Flow(model, spec=codec.spec, codec=codec, path=path, objective=objective, solver=Push())


@pytest.mark.parametrize("logit", [0.0, 0.05])
def test_a_uniform_dequantizer_is_the_uniform_bound(logit):
    """The same number for the same u, and the same bound over draws of it."""
    data, flow = digits_flow(UniformDequantizer(), logit)
    flow.fit_parts(data)
    x = flow.encode(data.take(torch.arange(64)), torch.Generator().manual_seed(0)).x
    field, draws = BijectionField(flow.model), lambda: torch.Generator().manual_seed(1)
    said = log_probability(field, x, {}, flow.codec, UniformDequantizer(), draws())
    u = torch.special.ndtr(torch.randn(x.shape, generator=draws()))
    again = flow.codec.place(flow.codec.level(x), u)
    torch.testing.assert_close(said, log_probability(field, again, {}, flow.codec))
    states = flow.encode(data.take(torch.arange(64)), draws())
    learned = BitsPerDim(16)(flow, states)["bits_per_dim"]
    flow.objective.dequantizer = None
    assert learned == pytest.approx(BitsPerDim(16)(flow, states)["bits_per_dim"], abs=0.02)


def test_logits_change_the_states_and_not_the_probability():
    """A bijection that undoes the logits has the same bits behind them as the plain one without."""
    data, plain = digits_flow()
    x = data.take(torch.arange(20)).x
    level, u = plain.codec._places(x).round(), torch.rand(x.shape)
    codec = Dequantize(data.spec, 17, 0.05)
    states = codec.place(level, u).double().requires_grad_()
    volume = codec.log_volume(states)
    y = ((states.sigmoid() - 0.05) / 0.9).sum()
    (slope,) = torch.autograd.grad(y, states)
    wanted = -slope.log().flatten(1).sum(1) - 64 * math.log(17)
    torch.testing.assert_close(volume.detach(), wanted)
    assert torch.equal(codec.level(states.detach().float()), level)
    assert float(codec.spec.limits[1]) == pytest.approx(math.log(0.95 / 0.05))


def test_a_learned_dequantizer_of_glow_learns_and_tightens_its_bound():
    small = {**NET, "context": 4, "dropout": 0.0, "couplings": 1}
    data, flow = digits_flow(FlowDequantizer(Digits().spec, **small))
    assert "objective" in flow.fit_parts(data)
    states = flow.encode(data.take(torch.arange(100)), torch.Generator().manual_seed(0))
    before = [BitsPerDim(m)(flow, states)["bits_per_dim"] for m in (1, 8)]
    assert before[1] < before[0]
    own = [p.detach().clone() for p in flow.objective.dequantizer.parameters()]
    flow.fit(data, steps=15, batch=32, lr=5e-3)
    assert BitsPerDim(1)(flow, states)["bits_per_dim"] < before[0]
    moved = [not torch.equal(p, q) for p, q in zip(own, flow.objective.dequantizer.parameters(), strict=True)]
    assert all(moved)


def test_a_killed_run_goes_on_with_the_same_bits_in_both_laws(tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        spec = Dequantize(Digits().spec, 17, 0.05).spec
        model = FlowPlusPlus(spec, ("squeeze", "channels"), **NET)
        dequantizer = FlowDequantizer(spec, 1, context=4, **NET)
        data, flow = digits_flow(dequantizer, 0.05, model)
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
    assert any(name.startswith("objective.dequantizer") for name in a)
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64])
def test_levels_of_any_type_stand_in_the_middle_of_their_cells(dtype):
    codec = Dequantize(Spec((3,), limits=(0, 255)), levels=256)
    x = torch.tensor([[0, 100, 255]], dtype=dtype)
    states = codec.encode(fl.data.Examples(x)).x
    wanted = (torch.tensor([[0.5, 100.5, 255.5]]) / 256 - 0.5).to(states.dtype)
    torch.testing.assert_close(states, wanted, atol=1e-6, rtol=0)


def test_what_does_not_fit_is_told():
    with pytest.raises(IncompatibleError, match="codec: dequantize"):
        ExactLikelihood(fl.paths.AffinePath(), None, UniformDequantizer())
    with pytest.raises(ShapeError, match="no halves by checkerboard"):
        FlowPlusPlus(Spec(shape=(1, 4, 3)), ("checkerboard",), **NET)
    with pytest.raises(ShapeError, match="squeezes even sides"):
        FlowPlusPlus(Spec(shape=(1, 3, 4)), ("squeeze",), **NET)


def test_levels_are_asked_of_all_of_sorted_data():
    """Blank rows first and grey ones last: those between levels are found behind the first thousand."""
    data = Digits()
    _, flow = digits_flow()
    x = torch.full((3000, *data.spec.shape), data.spec.limits[0])
    flow.codec.fit(fl.data.Tensors(x, spec=data.spec), flow)
    x[2990:] += 0.4 * (data.spec.limits[1] - data.spec.limits[0]) / 16
    with pytest.raises(DataError, match="not of 17 levels"):
        flow.codec.fit(fl.data.Tensors(x, spec=data.spec), flow)
