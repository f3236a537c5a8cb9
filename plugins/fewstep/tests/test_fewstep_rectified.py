"""Rectified Diffusion: DDIM is exact where the way is first-order, pairs stay pairs, killed runs go on."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from flowloom.errors import IncompatibleError
from flowloom.fields import NetworkField
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath
from flowloom.solvers import Euler
from flowloom_fewstep.ddim import DDIM
from flowloom_fewstep.rectified_diffusion import RectifiedDiffusion
from flowloom_fewstep.scaled_linear_vp import ScaledLinearVP
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble
from flowloom_registry.runs.stages import carry_out_stages

T = torch.linspace(0, 1, 7, dtype=torch.float64)


class Points(torch.nn.Module):
    """Predicts the noise of one point of data, which is constant along every way to it."""

    def __init__(self, schedule, x1):
        super().__init__()
        self.schedule, self.x1 = schedule, x1

    def forward(self, x, t, **cond):
        t = t[:, None].to(x.dtype)
        return (x - self.schedule.alpha(t) * self.x1) / self.schedule.sigma(t)


def test_the_schedule_is_that_of_stable_diffusion():
    """Against its 1,000 discrete rates: roots linear from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    discrete = torch.cumprod(1 - betas, 0).sqrt()
    schedule = ScaledLinearVP()
    for step in (0, 99, 499, 999):
        t = torch.tensor(1 - (step + 1) / 1000, dtype=torch.float64)
        assert abs(float(schedule.alpha(t) - discrete[step])) < 2e-3
    assert torch.allclose(schedule.alpha(T) ** 2 + schedule.sigma(T) ** 2, torch.ones(7, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 3])
def test_ddim_is_exact_on_a_curved_way_of_constant_noise_and_euler_is_not(steps):
    schedule, x1 = ScaledLinearVP(), torch.tensor([1.5, -0.5], dtype=torch.float64)
    field = NetworkField(Points(schedule, x1), "noise", AffinePath(schedule))
    noise = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(1, dtype=torch.float64)
    start = schedule.alpha(zero) * x1 + schedule.sigma(zero) * noise
    # The network is asked at the margin of t=0, not at it.
    assert (DDIM(steps).solve(field, start).x - x1).abs().max() < 2e-3
    assert (Euler(steps).solve(field, start).x - x1).abs().max() > 0.1


def test_ddim_on_the_straight_schedule_is_euler():
    field = NetworkField(_Wave(), "velocity", AffinePath())
    x0 = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(DDIM(8).solve(field, x0).x, Euler(8).solve(field, x0).x, atol=1e-9)


class _Wave(torch.nn.Module):
    def forward(self, x, t, **cond):
        return torch.sin(3 * x + t[:, None].to(x.dtype))


def test_the_loss_is_pseudo_huber_of_the_implied_data():
    schedule = ScaledLinearVP()
    objective = RectifiedDiffusion(AffinePath(schedule), huber=0.1)
    draws = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(64, 2, generator=draws), torch.randn(64, 2, generator=draws))
    point = batch.point(objective.path, torch.rand(64, generator=draws))
    off = 0.2 * torch.randn(64, 2, generator=draws)
    t = point.t[:, None]
    implied = (schedule.sigma(t) / schedule.alpha(t)) * off
    expected = (implied.square() + 0.01).sqrt() - 0.1
    assert torch.allclose(objective.compare(batch.x0 + off, point, {}), expected, atol=1e-4)
    loss = objective.loss(_Knows(batch.x0), batch, Step(generator=draws))
    assert float(loss.total) < 1e-6
    with pytest.raises(IncompatibleError, match="off an affine path, not GeodesicPath"):
        RectifiedDiffusion(GeodesicPath())


class _Knows(torch.nn.Module):
    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, x, t, **cond):
        return self.x0


LATENTS = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    spec = Spec((4, 32, 32), conditions={"label": Condition(1000)})

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 4, 32, 32), {"label": rows})
    def split(self, name): return self
"""
SMALL = """
extends: {name}
model: {{use: mlp, width: 16, depth: 2}}
scores: []
metrics: []
renderer: null
stages:
  - name: base
    objective: {{use: flow-matching, predict: noise}}
    solver: {{use: ddim, steps: 4}}
    train: {{steps: 5, batch: 16}}
  - name: rectified
    data: {{use: samples, run: {{run: base}}, n: 200, pairs: true}}
    source: {{use: paired, holds: states, otherwise: gaussian}}
    model: {{run: base, frozen: false}}
    objective: rectified-diffusion
    solver: {{use: ddim, steps: 1}}
    train: {{steps: 150, batch: 16, checkpoint_every: 25, log_every: 5}}
"""


@pytest.mark.slow
def test_a_killed_retraining_goes_on_bit_for_bit(tmp_path, apart):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL.format(name="rectified-diffusion"))

    apart.finish(apart.start(recipe, tmp_path / "whole"), 300)
    process = apart.start(recipe, tmp_path / "run")
    apart.wait_for_step(tmp_path / "run", 40, process, 300)
    process.kill()
    process.communicate()
    apart.finish(apart.start(recipe, tmp_path / "run"), 300)
    expected, found = (load_file(tmp_path / run / "flow.safetensors") for run in ("whole", "run"))
    assert expected.keys() == found.keys()
    assert all(value.equal(found[name]) for name, value in expected.items())


def test_the_recipe_at_full_size_builds_and_has_the_size_of_a_dit_xl_2(tmp_path):
    pytest.importorskip("flowloom_images")
    (tmp_path / "latents.py").write_text(LATENTS)
    data = f"data={{use: '{tmp_path / 'latents.py'}:Latents'}}"
    with torch.device("meta"):
        planned = {}
        for one in stages_of(load_recipe("rectified-diffusion-sd15", overrides=[data])):
            planned[one.stage.name] = assembly = assemble(one, planned=planned)
            assert sum(p.numel() for p in assembly.flow.model.parameters()) == 674_816_272
    assert assembly.flow.guidance.scale == 1.5
    assert assembly.flow.objective.huber == 1e-3


def test_stages_of_one_step(tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL.format(name="rectified-flow").replace("predict: noise", "predict: velocity"))
    text = recipe.read_text().replace("    objective: rectified-diffusion\n", "")
    recipe.write_text(text.replace("ddim", "euler").replace("steps: 150", "steps: 3"))
    folder, _ = carry_out_stages(load_recipe(str(recipe)), tmp_path / "out", torch.device("cpu"))
    assert folder.status()["state"] == "finished"
