"""What the learned 1x1 convolution brings on real digits, over three seeds (1807.03039, figure 3)."""

import json
from statistics import mean

import pytest

from flowloom_registry.cli import main

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


def bits(recipe, folder):
    """Held-out bits per dimension of every seed."""
    found = []
    for seed in SEEDS:
        out = folder / f"{recipe}-{seed}"
        words = ["--set", f"seed={seed}", "--set", "metrics=[]", "--device", "cpu", "--out", str(out)]
        assert main(["run", recipe, *words]) == 0
        scores = json.loads((out / "evaluation.json").read_text())["scores"]
        found.append(scores["held-out data"]["bits_per_dim"])
    return found


def test_glow_needs_fewer_bits_than_reversed_channels_and_than_a_gaussian(tmp_path):
    glow, reverse = bits("digits-glow", tmp_path), bits("digits-realnvp", tmp_path)
    assert mean(glow) <= 0.985 * mean(reverse)
    assert max(glow) < min(bits("digits-gaussian-fit", tmp_path))
