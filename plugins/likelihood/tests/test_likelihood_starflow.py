"""STARFlow: blocks by hand, laws whose twins leak and forget, guidance, denoising, and the papers' sizes."""

import math

import pytest
import torch
from safetensors.torch import save_file

import flowloom as fl
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.kinds import Kind
from flowloom.objectives import Batch, Step
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_images.data import Digits
from flowloom_likelihood.bijections.autoregressive import CausalBlock, product
from flowloom_likelihood.bijections.causal_net import CausalNet
from flowloom_likelihood.field import BijectionField, normal_log_prob
from flowloom_likelihood.models import StarFlow, TarFlow
from flowloom_likelihood.solver import Push
from flowloom_likelihood.starflow import AutoregressiveGuidance, Inversion, JacobiPush, NoisyLikelihood
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble

KIND = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")
BLOCK = {"tokens": 4, "channels": 2, "width": 8, "depth": 2, "heads": 2}
SMALL = {"patch": 2, "layers": (1, 2), "width": 8, "heads": 2}
DIGITS = Spec((1, 4, 4), conditions={"label": Condition(classes=3)})


def moved(module, by=0.3, seed=0):
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn(p.shape, generator=draws, dtype=p.dtype))
    return module


def digits_flow(seed=0, **settings):
    torch.manual_seed(seed)
    data, path = Digits(), fl.paths.AffinePath()
    objective = NoisyLikelihood(path, noise=0.15)
    return data, fl.Flow(
        StarFlow(data.spec, **SMALL), path=path, objective=objective, solver=Push(), **settings
    )


# -- laws, and twins that break them ------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: CausalBlock(**BLOCK, flip=True),
        lambda: StarFlow(DIGITS, **SMALL),
        lambda: TarFlow(DIGITS, patch=2, blocks=2, depth=1, width=8, heads=2),
        lambda: StarFlow(Spec((5, 3)), layers=(1, 1), width=8, heads=2, positions="learned", told="none"),
        lambda: StarFlow(DIGITS, **SMALL).guided(1.5),
    ],
)
def test_autoregressive_flows_keep_the_laws_of_bijections(make):
    def with_spec():
        made = make()
        made.spec = getattr(made, "spec", DIGITS)
        return made

    results = check(with_spec, KIND)
    assert all(r.status == "passed" for r in results), [r.message for r in results]


class _NoShift(CausalNet):
    """Forgets that a token may not see itself."""

    def forward(self, x, cond):
        mean, log_scale = self.read(x, cond, self.begin())
        return mean[:, 1:], log_scale[:, 1:]


class _NoMask(CausalNet):
    """Looks ahead."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        for block in self.blocks:
            block.causal = False


class _Forgets(CausalNet):
    """Reads every token as if nothing had been read before it."""

    def read(self, x, cond, reading):
        told = super().read(x, cond, reading)
        for past in reading.past:
            past.keys = past.values = None
        return told


@pytest.mark.parametrize(
    ("net", "broken"),
    [
        (_NoShift, "check_no_token_sees_a_later_one"),
        (_NoMask, "check_no_token_sees_a_later_one"),
        (_Forgets, "check_reading_on"),
    ],
)
def test_every_law_of_tokens_has_a_twin_that_breaks_it(net, broken):
    def make():
        block = CausalBlock(**BLOCK)
        block.net = net((1, 4), 2, 8, 2, 2)
        return block

    assert {r.name: r.status for r in check(make, KIND)}[broken] == "failed"


# -- blocks by hand -----------------------------------------------------------------------------------


def test_a_stack_starts_as_the_identity_and_takes_turns_in_its_order():
    x = torch.randn(2, 1, 4, 4)
    z, log_det = StarFlow(DIGITS, **SMALL).transform(x, {"label": torch.tensor([0, 1])})
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(2), atol=1e-5, rtol=0)
    flips = [block.flip for block in StarFlow(DIGITS, patch=2, layers=(1,) * 4, width=8, heads=2).blocks]
    assert flips == [True, False, True, False]


def test_a_block_by_hand():
    """z = (x - m) / softplus(r + log(e - 1)), both clipped softly at 4, of the tokens before."""
    block = moved(CausalBlock(**BLOCK))
    x = torch.randn(3, 4, 2)
    z, log_det = block.transform(x, {})
    for i in range(4):
        reading = block.net.begin()
        hidden = block.net._read(x[:, :i], {}, reading)[:, -1]
        mean, raw = (4 * torch.tanh(block.net.out(block.net.norm(hidden)) / 4)).chunk(2, -1)
        scale = torch.nn.functional.softplus(raw + 0.541324854612918)
        torch.testing.assert_close(z[:, i], (x[:, i] - mean) / scale, atol=1e-5, rtol=1e-5)
        log_det = log_det + scale.log().sum(1)
    torch.testing.assert_close(log_det, torch.zeros(3), atol=1e-5, rtol=0)


def test_only_told_blocks_know_the_class_and_withheld_rows_do_not():
    label, off = torch.tensor([0, 1]), torch.tensor([True, True])
    x = torch.randn(1, 1, 4, 4).expand(2, -1, -1, -1)
    model = moved(StarFlow(DIGITS, **SMALL))
    inside, _ = model.trace(x, {"label": label})
    assert torch.equal(inside[1][0], inside[1][1])
    assert not torch.allclose(inside[2][0], inside[2][1])
    withheld, _ = model.trace(x, {"label": label, "null": off})
    torch.testing.assert_close(withheld[2][0], withheld[2][1])
    tar, _ = moved(TarFlow(DIGITS, 2, 2, 1, 8, 2)).trace(x, {"label": label})
    assert not torch.allclose(tar[1][0], tar[1][1])


def test_text_is_as_many_tokens_as_it_has_steps():
    model = moved(StarFlow(Spec((1, 4, 4), conditions={"text": Condition(shape=(5, 3))}), **SMALL))
    assert model.blocks[-1].net.told.length == 5
    text, x = torch.randn(2, 5, 3), torch.randn(2, 1, 4, 4)
    z, _ = model.transform(x, {"text": text})
    torch.testing.assert_close(model.inverse(z, {"text": text}), x, atol=1e-4, rtol=0)
    changed = text.clone()
    changed[:, -1] += 1
    assert not torch.allclose(model.transform(x, {"text": changed})[0], z)
    nothing = model.transform(x, {})[0]
    torch.testing.assert_close(
        model.transform(x, {"text": text, "null": torch.tensor([True, True])})[0], nothing
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_map_inverts_whatever_the_transformer_computes_in(dtype):
    model, label = moved(StarFlow(DIGITS, **SMALL)), {"label": torch.tensor([0, 2])}
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    if dtype == torch.float64:
        z, _ = model.double().transform(x, label)
        torch.testing.assert_close(model.inverse(z, label), x, atol=1e-10, rtol=0)
        return
    with torch.autocast("cpu", dtype):
        z, log_det = model.transform(x, label)
        assert z.dtype == log_det.dtype == torch.float32
        # What differs is the rounding of the transformer itself, token by token and all at once.
        torch.testing.assert_close(model.inverse(z, label), x, atol=0.2, rtol=0)


# -- guidance, denoising, the inverse in parallel -----------------------------------------------------


def test_the_guided_law_is_the_product_of_gaussians():
    told, null = (torch.tensor(0.4), torch.tensor(-0.5)), (torch.tensor(-0.3), torch.tensor(0.1))
    mean, log_scale = product(told, null, 1.5)
    x = torch.linspace(-6, 6, 20001, dtype=torch.float64)

    def log_law(moments):
        return -0.5 * ((x - moments[0]) / moments[1].exp()) ** 2

    law = (2.5 * log_law(told) - 1.5 * log_law(null)).exp()
    law = law / law.sum()
    assert float((law * x).sum()) == pytest.approx(float(mean), abs=1e-4)
    deviation = float((law * (x - mean) ** 2).sum().sqrt())
    assert deviation == pytest.approx(float(log_scale.exp()), rel=1e-3)
    # A wider told law: r is held at 1, which is the usual extrapolation of means.
    mean, log_scale = product(null, told, 2.0)
    assert float(mean) == pytest.approx(-0.3 + 2 * (-0.3 - 0.4))
    assert float(log_scale) == pytest.approx(0.1)


def test_guidance_touches_told_blocks_alone_and_keeps_the_density_exact():
    data, flow = digits_flow(guidance=AutoregressiveGuidance(2.0))
    moved(flow, 0.1)
    label = {"label": torch.arange(4) % 10}
    field, plain = flow.field(), flow.objective.field(flow.model)
    z = torch.randn(4, 1, 8, 8)
    x = field(z, None, label)
    assert not torch.allclose(x, plain(z, None, label), atol=1e-3)
    torch.testing.assert_close(field.pull(x, label)[0], z, atol=1e-4, rtol=0)
    torch.testing.assert_close(field(z, None, {}), plain(z, None, {}))
    first, second = (one.bijection for one in (field, plain))
    assert first.links[1] is second.net.links[1]
    assert field.calls(0.0, label) == 48
    assert field.calls(0.0, {}) == plain.calls(0.0, label) == 32
    with pytest.raises(IncompatibleError, match="laws of tokens"):
        AutoregressiveGuidance()(fl.fields.NetworkField(fl.models.MLP(data.spec), "velocity"))


def test_a_gaussian_is_denoised_to_its_posterior_mean():
    """Data N(0, 1) with noise of variance s^2 are N(0, 1 + s^2), and E[x | noisy x] = x / (1 + s^2)."""
    field = BijectionField(moved(CausalBlock(1, 1, 4, 1, 2), 0.0), noise=0.5)
    with torch.no_grad():
        out = field.bijection.net.out
        wanted = math.log(math.exp(math.sqrt(1.25)) - 1) - math.log(math.e - 1)
        out.bias.copy_(torch.tensor([0.0, 4 * math.atanh(wanted / 4)]))
    x = torch.linspace(-2, 2, 5).reshape(5, 1, 1)
    torch.testing.assert_close(field.denoised(x, {}), x / 1.25)
    with pytest.raises(IncompatibleError, match="no noise to take away"):
        BijectionField(CausalBlock(1, 1, 4, 1, 2)).denoised(x, {})


def test_the_inverse_in_parallel_stops_at_its_tolerance_and_counts_what_it_took():
    _, flow = digits_flow()
    moved(flow, 0.1)
    exact = flow.solve(8, seed=0, cond={"label": 3})
    loose = flow.solve(8, seed=0, cond={"label": 3}, solver=JacobiPush(1e-3))
    tight = flow.solve(8, seed=0, cond={"label": 3}, solver=JacobiPush(1e-12))
    assert exact.nfe == 32
    assert loose.nfe < tight.nfe <= 32
    torch.testing.assert_close(tight.x, exact.x, atol=1e-4, rtol=1e-4)
    off = float((loose.x - exact.x).norm() / exact.x.norm())
    assert 0 < off < 1e-2
    flow.solver = JacobiPush(1e-3, denoise=True)
    examples = flow.encode(Digits().take(torch.arange(8)))
    found = Inversion()(flow, examples)
    assert 0 < found["inversion_error"] < 1e-2
    assert found["round_trip"] < 1e-4
    assert flow.solver.denoise


# -- training -----------------------------------------------------------------------------------------


def test_the_loss_is_the_density_of_noisy_states_and_the_norms_between_blocks():
    data, flow = digits_flow()
    moved(flow, 0.05)
    x = flow.encode(data.take(torch.arange(6)))
    objective = NoisyLikelihood(flow.path, noise=0.15, norm_penalty=0.5, condition_dropout=0.0)
    batch = Batch(x.x, x.x, x.cond)
    loss = objective.loss(flow.model, batch, Step(generator=torch.Generator().manual_seed(3)))
    noisy, _ = objective.noisy(batch, Step(generator=torch.Generator().manual_seed(3)))
    assert float((noisy - x.x).std()) == pytest.approx(0.15, rel=0.1)
    with torch.no_grad():
        inside, log_det = flow.model.trace(noisy, x.cond)
    bits = -float((normal_log_prob(inside[-1]) + log_det).mean()) / (64 * math.log(2))
    assert float(loss.parts["bits_per_dim"]) == pytest.approx(bits, abs=1e-5)
    penalty = 0.5 / math.log(2) * float(inside[1].square().mean())
    assert float(loss.total.detach()) == pytest.approx(bits + penalty, abs=1e-5)


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    def make(seed):
        data, flow = digits_flow(seed)
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
        StarFlow(DIGITS, patch=3)
    with pytest.raises(ShapeError, match="maps"):
        StarFlow(Spec((4,)))
    with pytest.raises(ValueError, match="deep, all or none"):
        StarFlow(DIGITS, told="some")
    with pytest.raises(ValueError, match="3 heads"):
        CausalBlock(4, 2, 8, 1, 3)
    with pytest.raises(IncompatibleError, match="starflow, tarflow"):
        NoisyLikelihood(fl.paths.AffinePath()).loss(
            fl.models.MLP(DIGITS), Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)), Step()
        )
    with pytest.raises(IncompatibleError, match="nothing to guide by"):
        StarFlow(DIGITS, **SMALL, told="none").guided(1.0)


# -- the papers' sizes --------------------------------------------------------------------------------


def block_of(width):
    return 12 * width**2 + 13 * width


def star(layers, width, told):
    """enter and first token, RMS norm, zero layer, of 4 channels; blocks; and what the deep one is told."""
    ends = 4 * width + width + 4 + width + width * 8 + 8
    return len(layers) * ends + sum(layers) * block_of(width) + told


def test_the_recipe_of_imagenet_256_has_the_papers_1_4_billion_parameters(papers_flow):
    flow = papers_flow("imagenet-starflow", 256)
    assert flow.spec.shape == (4, 32, 32)
    with torch.device("meta"):
        label = torch.zeros(2, dtype=torch.long)
        assert flow.model.transform(torch.zeros(2, 4, 32, 32), {"label": label})[0].shape == (2, 4, 32, 32)
    told = 1000 * 2048 + 2048
    count = sum(p.numel() for p in flow.model.parameters())
    assert count == star((2, 2, 2, 2, 2, 18), 2048, told)
    assert round(count / 1e8) == 14


def test_the_recipe_of_text_has_the_papers_3_8_billion_parameters(tmp_path):
    path = tmp_path / "few.safetensors"
    save_file({"x": torch.zeros(2, 4, 32, 32), "text": torch.zeros(2, 128, 2048)}, path)
    with torch.device("meta"):
        recipe = load_recipe("text-starflow", overrides=[f"data.file={path}"])
        flow = assemble(recipe).flow
    told = 2048 * 3072 + 3072 + 3072
    count = sum(p.numel() for p in flow.model.parameters())
    assert count == star((2, 2, 2, 2, 2, 24), 3072, told)
    assert 3.8e9 < count < 3.9e9
