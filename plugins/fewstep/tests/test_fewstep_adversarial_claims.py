"""What the transport term of adversarial flow models (2511.22475) buys: the same GAN without it beside.

Seeds and thresholds were fixed before the first run; thresholds are for means over the seeds. The weight of
the transport goes with gradients that are not normalised, as in the authors' notebook; this was chosen by a
pilot on seed 7, after normalised gradients with the same weight had failed on seed 0. Figures are printed;
run with ``-s``.
"""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.metrics import EnergyDistance
from flowloom.solvers import FlowMapSteps
from flowloom_fewstep.transport import TransportCost
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)


def trained(seed: int, *overrides: str, recipe: str = "adversarial-flow-ring"):
    assembly = assemble(load_recipe(recipe, overrides=[f"seed={seed}", *overrides]))
    trainer = assembly.flow.trainer(assembly.data, assembly.train, seed=seed)
    for _ in trainer.run():
        pass
    trainer.close()
    trainer.ema.copy_to_live()
    return assembly.flow, assembly.data.split("test").take(torch.arange(4000))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def disagreement(ends) -> float:
    """Mean squared distance between where two seeds' maps take the same noise."""
    pairs = [(a, b) for i, a in enumerate(ends) for b in ends[i + 1 :]]
    return mean(float((a - b).square().sum(1).mean()) for a, b in pairs)


def test_the_transport_term_chooses_the_map():
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(99))
    found: dict[str, dict[str, float]] = {}
    for arm, overrides in {"adversarial flow": [], "gan": ["objective.transport=0"]}.items():
        ratios, energies, ends = [], [], []
        for seed in SEEDS:
            flow, real = trained(seed, *overrides)
            ratios.append(TransportCost(800)(flow, real, seed=seed)["transport_ratio"])
            x = flow.solve(4000, seed=seed).x
            energies.append(EnergyDistance()(Examples(x), real)["energy_distance"])
            ends.append(flow.solve(x0=noise).x)
            print(
                f"\n{arm}, seed {seed}: transport ratio {ratios[-1]:.4f}, energy {energies[-1]:.5f}",
                flush=True,
            )
        found[arm] = {"ratio": mean(ratios), "energy": mean(energies), "disagreement": disagreement(ends)}
        print(f"\n{arm}, mean: {found[arm]}", flush=True)
    ours, gan = found["adversarial flow"], found["gan"]
    assert ours["ratio"] <= 1.15
    assert ours["ratio"] - 1 <= 0.7 * (gan["ratio"] - 1)
    assert ours["disagreement"] <= 0.3 * gan["disagreement"]
    assert ours["energy"] <= 1.5 * gan["energy"]


def test_any_number_of_evaluations():
    """One network, told how far it jumps, in one, two and four evaluations, beside the GAN without the term.

    Thresholds are those of the single jump, at every number of evaluations.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    for arm, overrides in {"adversarial flow": [], "gan": ["objective.transport=0"]}.items():
        rows: dict[int, list[dict[str, float]]] = {steps: [] for steps in (1, 2, 4)}
        for seed in SEEDS:
            flow, real = trained(seed, *overrides, recipe="adversarial-flow-ring-any")
            for steps, of_steps in rows.items():
                flow.solver = FlowMapSteps(steps)
                x = flow.solve(4000, seed=seed).x
                of_steps.append(
                    {
                        "ratio": TransportCost(800)(flow, real, seed=seed)["transport_ratio"],
                        "energy": EnergyDistance()(Examples(x), real)["energy_distance"],
                    }
                )
                print(f"\nany-step {arm}, seed {seed}, {steps} evaluations: {of_steps[-1]}", flush=True)
        found[arm] = {
            steps: {name: mean(row[name] for row in of_steps) for name in of_steps[0]}
            for steps, of_steps in rows.items()
        }
        print(f"\nany-step {arm}, mean: {found[arm]}", flush=True)
    for steps, ours in found["adversarial flow"].items():
        gan = found["gan"][steps]
        assert ours["ratio"] <= 1.15
        assert ours["ratio"] - 1 <= 0.7 * (gan["ratio"] - 1)
        assert ours["energy"] <= 1.5 * gan["energy"]
