"""Recipes at the papers' scale: what they are built of agrees, and has the papers' sizes."""

import pytest
import torch

from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import assemble

pytest.importorskip("flowloom_images")

FACES = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Faces(Dataset):
    '''Images of 768 pixels and what three text encoders say of them, in shape only.'''
    spec = Spec(
        (3, 768, 768), conditions={"text": Condition(shape=(333, 4096)), "pooled": Condition(shape=(2048,))}
    )

    def __len__(self): return 2
    def take(self, rows):
        n = len(rows)
        told = {"text": torch.zeros(n, 333, 4096), "pooled": torch.zeros(n, 2048)}
        return Examples(torch.zeros(n, 3, 768, 768), told)
    def split(self, name): return self
"""
AUTOENCODER = 83_819_683 + 1_328  # ours keeps the two 1 x 1 convolutions by the latents, which SD3's lacks
SIZES = {
    "restore-sd3": 2_028_328_000,
    "restore-sd35-flair": 2_243_171_520,
    "invert-sd3": 2_028_328_000,
}


@pytest.mark.parametrize("name", SIZES)
def test_the_paper_s_networks_have_the_paper_s_sizes(name, tmp_path):
    """Stable Diffusion 3 medium and 3.5 medium, in the 96 x 96 latents of their autoencoder."""
    file = tmp_path / "faces.py"
    file.write_text(FACES)
    planned = {}
    for stage in stages_of(load_recipe(name, overrides=[f"data={{use: '{file}:Faces'}}"])):
        with torch.device("meta"):
            planned[stage.stage.name] = assemble(stage, planned=planned)
    sizes = {name: sum(p.numel() for p in one.flow.model.parameters()) for name, one in planned.items()}
    assert sizes == {"autoencoder": AUTOENCODER, "flow": SIZES[name]}
    flow = planned["flow"].flow
    assert flow.spec.shape == (16, 96, 96)
    assert not any(key.startswith("codec.") for key in flow.trainable())
