"""The recipe at the paper's scale has the paper's network."""

import pytest
import torch

from flowloom_registry.config.build import build
from flowloom_registry.config.recipe import load_recipe

LATENTS = """
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec

class Latents(Dataset):
    '''Latents and texts of Stable Diffusion 3.5 at 1024 pixels, in shape only.'''
    spec = Spec(
        (16, 128, 128), conditions={"text": Condition(shape=(333, 4096)), "pooled": Condition(shape=(2048,))}
    )

    def __len__(self): return 2
    def take(self, rows):
        n = len(rows)
        told = {"text": torch.zeros(n, 333, 4096), "pooled": torch.zeros(n, 2048)}
        return Examples(torch.zeros(n, 16, 128, 128), told)
    def split(self, name): return self
"""


def test_the_paper_s_network_has_the_paper_s_size(tmp_path):
    """Stable Diffusion 3.5 large, and ten steps whose shares of noise s are 3 s' / (1 + 2 s') of even s'."""
    pytest.importorskip("flowloom_images")
    file = tmp_path / "latents.py"
    file.write_text(LATENTS)
    recipe = load_recipe("raag-sd35-large", overrides=[f"data={{use: '{file}:Latents'}}"])
    with torch.device("meta"):
        built = build(recipe)
    assert sum(p.numel() for p in built["model"].parameters()) == 8_056_627_520
    even = torch.linspace(1, 0, 11, dtype=torch.float64)
    bent = 1 - 3 * even / (1 + 2 * even)
    assert torch.allclose(torch.tensor(built["solver"].grid, dtype=torch.float64), bent, atol=1e-6)
