"""Latent flow matching: the autoencoder, its loss, the codec that it becomes, and both stages."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.models import MLP
from flowloom.objectives import Batch, Step
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_images.latents import AutoencoderLoss, KLAutoencoder, LearnedCodec, Posterior
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble


def small(spec=None) -> KLAutoencoder:
    torch.manual_seed(0)
    return KLAutoencoder(spec or Spec((1, 8, 8)), width=8, multipliers=(1, 2), blocks=1, channels=3)


def trained(model) -> Trained:
    return Trained(Flow(model, spec=model.spec, objective=AutoencoderLoss()))


def test_at_its_defaults_it_is_the_autoencoder_of_stable_diffusion():
    with torch.device("meta"):
        model = KLAutoencoder(Spec((3, 256, 256)))
    assert sum(p.numel() for p in model.parameters()) == 83_653_863
    assert model.latent == (4, 32, 32)


def test_the_posterior_draws_by_its_moments_and_knows_its_divergence():
    mean = torch.tensor([[1.0, -2.0]]).expand(40_000, 2)
    log_var = torch.tensor([[0.0, 1.0]]).expand(40_000, 2)
    posterior = Posterior(mean, log_var)
    z = posterior.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(z.mean(0), mean[0], atol=0.03)
    assert torch.allclose(z.var(0), log_var[0].exp(), rtol=0.03)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(
        normal(mean[0], (log_var[0] / 2).exp()), normal(0.0, 1.0)
    ).sum()
    assert torch.allclose(posterior.kl()[:3], wanted.expand(3))


def test_the_loss_is_absolute_error_of_a_draw_and_the_weighed_divergence():
    model, x = small(), torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    loss = AutoencoderLoss(kl_weight=0.5).loss(
        model, Batch(x, x), Step(generator=torch.Generator().manual_seed(2))
    )
    posterior = model.posterior(x)
    z = posterior.sample(torch.Generator().manual_seed(2))
    gap = (x - model.decode(z)).abs().flatten(1).sum(1).mean()
    assert torch.allclose(loss.total, gap + 0.5 * posterior.kl().mean())
    assert torch.allclose(loss.parts["reconstruction"], gap / 64)


def test_latents_have_unit_variance_and_decode_undoes_the_factor():
    spec = Spec((1, 8, 8))
    x = 2 * torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    codec = LearnedCodec(spec, trained(small()))
    codec.fit(Tensors(x), None, torch.Generator().manual_seed(0))
    z = codec.encode(Examples(x), torch.Generator().manual_seed(3)).x
    assert z.shape == (300, *codec.spec.shape) == (300, 3, 4, 4)
    assert float(z.std()) == pytest.approx(1, abs=0.02)
    mean = LearnedCodec(spec, trained(small()), factor=0.18215, sample=False)
    back = mean.decode(mean.encode(Examples(x))).x
    assert torch.allclose(back, small()(x, torch.zeros(300)), atol=1e-5)
    given = mean.scale.clone()
    mean.fit(Tensors(x), None, torch.Generator())
    assert mean.scale.equal(given)


def test_what_is_no_autoencoder_of_these_states_is_refused():
    spec = Spec((1, 8, 8))
    with pytest.raises(IncompatibleError, match="the run given trained MLP; take one of model: kl-auto"):
        LearnedCodec(spec, Trained(Flow(MLP(spec))))
    with pytest.raises(
        IncompatibleError, match=r"of shape \(1, 8, 8\), and these are of shape \(1, 16, 16\)"
    ):
        LearnedCodec(Spec((1, 16, 16)), trained(small()))


SMALL = """
extends: lfm
model: {use: unet, width: 8, multipliers: [1], blocks: 1, attention: [], head_width: 8}
stages:
  - name: autoencoder
    model: {use: kl-autoencoder, width: 8, multipliers: [1, 2, 2], blocks: 1, channels: 2}
    objective: autoencoder
    train: {steps: 4, batch: 8}
  - name: flow
    codec: {use: learned, autoencoder: {run: autoencoder}, rows: 100}
    guidance: {use: classifier-free, scale: 1.25}
    solver: {use: euler, steps: 2}
    train: {steps: 60, batch: 8, checkpoint_every: 10, log_every: 2}
"""


@pytest.mark.slow
def test_a_killed_flow_in_latents_goes_on_bit_for_bit(tmp_path, apart):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL)

    apart.finish(apart.start(recipe, tmp_path / "whole"), 300)
    process = apart.start(recipe, tmp_path / "run")
    apart.wait_for_step(tmp_path / "run", 16, process, 300)
    process.kill()
    process.communicate()
    apart.finish(apart.start(recipe, tmp_path / "run"), 300)
    expected, found = (load_file(tmp_path / run / "flow.safetensors") for run in ("whole", "run"))
    assert expected.keys() == found.keys()
    assert all(value.equal(found[name]) for name, value in expected.items())
    # The autoencoder is kept with its own run; the factor is this run's.
    assert "codec.scale" in found
    assert all(name.startswith("model.") or name == "codec.scale" for name in found)


IMAGES = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Images(Dataset):
    spec = Spec((3, 256, 256), conditions={"label": Condition(1000)}, limits=(-1.0, 1.0))

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 3, 256, 256), {"label": rows})
    def split(self, name): return self
"""


def test_the_recipe_at_full_size_builds(tmp_path):
    """2307.08698 gives 130 M parameters for DiT-B/2."""
    (tmp_path / "images.py").write_text(IMAGES)
    data = f"data={{use: '{tmp_path / 'images.py'}:Images'}}"
    with torch.device("meta"):
        planned = {}
        for one in stages_of(load_recipe("lfm-imagenet-dit-b-2", overrides=[data])):
            planned[one.stage.name] = assembly = assemble(one, planned=planned)
    counts = [sum(p.numel() for p in one.flow.model.parameters()) for one in planned.values()]
    assert counts[0] == 83_653_863
    assert round(counts[1] / 1e6) == 130
    assert assembly.flow.spec.shape == (4, 32, 32)
