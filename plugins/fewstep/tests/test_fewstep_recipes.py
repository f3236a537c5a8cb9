"""Recipes: they build, run, stop and go on bit for bit, and have the papers' sizes at the papers' scale."""

from __future__ import annotations

import pytest
import torch

from flowloom.training import load_checkpoint, save_checkpoint
from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.experiment import assemble

LATENTS = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    '''Latents of ImageNet in shape only.'''
    spec = Spec((4, 32, 32), conditions={"label": Condition(1000)})

    def __len__(self): return 8
    def take(self, rows): return Examples(torch.zeros(len(rows), 4, 32, 32), {"label": rows})
    def split(self, name): return self
"""
MEANFLOW = {
    "B/2": ("{use: dit, size: B, patch: 2}", 131),
    "M/2": ("{use: dit, width: 1024, depth: 16, heads: 16, patch: 2}", 308),
    "L/2": ("{use: dit, size: L, patch: 2}", 459),
    "XL/2": ("{use: dit, size: XL, patch: 2}", 676),
}


@pytest.fixture
def latents(tmp_path):
    file = tmp_path / "latents.py"
    file.write_text(LATENTS)
    return f"data={{use: '{file}:Latents'}}"


@pytest.mark.parametrize("size", MEANFLOW)
def test_meanflow_has_the_paper_s_sizes(size, latents):
    """2505.13447, table 4, in millions of parameters, digits after the point dropped."""
    pytest.importorskip("flowloom_images")
    model, millions = MEANFLOW[size]
    recipe = load_recipe("imagenet-meanflow-xl-2", overrides=[latents, f"model={model}"])
    with torch.device("meta"):
        built = build(recipe)
    assert sum(p.numel() for p in built["model"].parameters()) // 10**6 == millions
    assert built["objective"].guided.effective_scale == pytest.approx(2.5)


SMALL = ["train.steps=10", "train.batch=8"]
RECIPES = ["meanflow-checkerboard", "meanflow-sphere", "meanflow-digits"]


def state(trainer) -> dict[str, torch.Tensor]:
    found = {f"flow.{k}": v for k, v in trainer.flow.state_dict().items()}
    found |= {f"ema.{k}": v for k, v in trainer.averaged().state_dict().items()}
    for player in trainer.players:
        found |= {f"{player.turn.name}.{k}": v for k, v in player.state().items()}
    return {k: v.clone() for k, v in found.items()}


def trainer_of(recipe: str):
    experiment = assemble(load_recipe(recipe, overrides=SMALL))
    return experiment.flow.trainer(experiment.data, experiment.train, seed=3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, tmp_path):
    pytest.importorskip("flowloom_images" if "digits" in name else "flowloom_geometries")
    whole = trainer_of(name)
    for _ in whole.run():
        pass
    first = trainer_of(name)
    for _ in first.run(6):
        pass
    folder = save_checkpoint(first, tmp_path)
    second = trainer_of(name)
    load_checkpoint(second, folder)
    assert second.step == 6
    for _ in second.run():
        pass
    expected, found = state(whole), state(second)
    assert expected.keys() == found.keys()
    assert [k for k, v in expected.items() if not torch.equal(v, found[k])] == []
