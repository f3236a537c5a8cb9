"""Trajectory balance beside detailed balance, at equal networks, walks and steps (2201.13259)."""

import json
from statistics import mean

import pytest

from flowloom_registry.cli import main

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


def judged(recipe, folder):
    """L1 and error of log Z of every seed."""
    found = []
    for seed in SEEDS:
        out = folder / f"{recipe}-{seed}"
        assert main(["run", recipe, "--set", f"seed={seed}", "--device", "cpu", "--out", str(out)]) == 0
        found.append(json.loads((out / "evaluation.json").read_text())["scores"]["samples"])
    return found


def test_trajectory_balance_is_nearer_to_the_reward_than_detailed_balance(tmp_path):
    whole, local = judged("hypergrid-tb", tmp_path), judged("hypergrid-db", tmp_path)
    assert mean(v["l1"] for v in whole) <= 0.85 * mean(v["l1"] for v in local)
    assert max(v["log_z_error"] for v in whole) <= 0.1
