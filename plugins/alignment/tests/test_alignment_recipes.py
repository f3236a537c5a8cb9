"""Recipes at the papers' scale have the papers' sizes; what they are built of agrees."""

import pytest
import torch

from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

LATENTS = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    '''Latents and texts of Stable Diffusion 3 at 512 pixels, in shape only.'''
    spec = Spec(
        (16, 64, 64),
        conditions={
            "text": Condition(shape=(333, 4096)), "pooled": Condition(shape=(2048,)), "label": Condition(10)
        },
    )

    def __len__(self): return 8
    def take(self, rows):
        n = len(rows)
        told = {"text": torch.zeros(n, 333, 4096), "pooled": torch.zeros(n, 2048), "label": rows % 10}
        return Examples(torch.zeros(n, 16, 64, 64), told)
    def split(self, name): return self
"""
SIZES = {"smart-grpo-sd35": 2_243_171_520, "ac-flow-sd3": 2_028_328_000}


def stages(name, tmp_path):
    file = tmp_path / "latents.py"
    file.write_text(LATENTS)
    return stages_of(load_recipe(name, overrides=[f"data={{use: '{file}:Latents'}}"]))


@pytest.mark.parametrize("name", SIZES)
def test_the_paper_s_network_has_the_paper_s_size(name, tmp_path):
    """Stable Diffusion 3.5 medium and 3 medium, without autoencoder and text encoders."""
    pytest.importorskip("flowloom_images")
    with torch.device("meta"):
        built = build(stages(name, tmp_path)[1])
    assert sum(p.numel() for p in built["model"].parameters()) == SIZES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_all_of_the_policy_learns_and_nothing_else(name, tmp_path):
    pytest.importorskip("flowloom_images")
    planned = {}
    for stage in stages(name, tmp_path):
        with torch.device("meta"):
            planned[stage.stage.name] = assemble(stage, planned=planned)
    last = planned[stage.stage.name].flow
    learning = sum(p.numel() for n, p in last.trainable().items() if n.startswith("model."))
    assert learning == SIZES[name]
    others = {n.split(".")[1] for n in last.trainable() if n.startswith("objective.")}
    assert others <= {"critic"}


def test_the_network_is_told_by_text_and_may_be_withheld_it():
    mmdit = pytest.importorskip("flowloom_images.models.mmdit")
    import flowloom as fl

    torch.manual_seed(0)
    told = {"text": fl.Condition(shape=(3, 6)), "pooled": fl.Condition(shape=(4,))}
    model = mmdit.MMDiT(fl.Spec((1, 4, 4), conditions=told), 16, 2, 2, dual=1, qk_norm=True)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x, t = torch.randn(2, 1, 4, 4), torch.rand(2)
    cond = {"text": torch.randn(2, 3, 6), "pooled": torch.randn(2, 4)}
    out = model(x, t, **cond)
    assert out.shape == x.shape
    for name in cond:
        other = {**cond, name: torch.randn_like(cond[name])}
        assert not torch.allclose(model(x, t, **other), out)
    off = model(x, t, **cond, null=torch.tensor([True, False]))
    assert torch.allclose(off[0], model(x, t)[0], atol=1e-6)
    assert torch.allclose(off[1], out[1], atol=1e-6)
