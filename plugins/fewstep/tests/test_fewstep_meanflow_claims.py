"""One evaluation of MeanFlow (2505.13447) beside flow matching: same network, steps, batches and seeds.

Recipes, seeds and thresholds were fixed before the first run; thresholds are for means over the seeds.
Figures are printed; run with ``-s`` to see them. The judge of digits is a small classifier trained on the
real training split.
"""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.metrics import EnergyDistance
from flowloom.solvers import Euler, FlowMapSteps, Midpoint, Solver
from flowloom_images.metrics import ImageQuality
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
PLAIN = "objective={use: flow-matching}"


def trained(recipe: str, seed: int, *overrides: str) -> tuple[fl.Flow, fl.data.Dataset]:
    assembly = assemble(load_recipe(recipe, overrides=[f"seed={seed}", *overrides]))
    flow, data = assembly.flow, assembly.data
    trainer = flow.trainer(data, assembly.train, seed=seed)
    for _ in trainer.run():
        pass
    trainer.close()
    trainer.ema.copy_to_live()
    return flow, data


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


class Table:
    """Figures of several seeds by name, printed as they come."""

    def __init__(self, title: str) -> None:
        self.rows: dict[str, list[float]] = {}
        print(f"\n{title}")

    def add(self, seed: int, name: str, value: float) -> None:
        self.rows.setdefault(name, []).append(value)
        print(f"  seed {seed}  {name:34s} {value:.4f}", flush=True)

    def means(self) -> dict[str, float]:
        for name, values in self.rows.items():
            print(f"  mean    {name:34s} {mean(values):.4f}", flush=True)
        return {name: mean(values) for name, values in self.rows.items()}


def energies(recipe: str, n: int, title: str) -> dict[str, float]:
    """Energy distance to held-out points of both arms, by evaluations."""
    table = Table(title)
    arms: dict[str, tuple[list[str], dict[int, Solver]]] = {
        "meanflow": ([], {k: FlowMapSteps(k) for k in (1, 2, 4)}),
        "flow matching": ([PLAIN, "solver=euler"], {1: Euler(1), 2: Euler(2), 4: Euler(4), 50: Midpoint(25)}),
    }
    for seed in SEEDS:
        for arm, (overrides, solvers) in arms.items():
            flow, data = trained(recipe, seed, *overrides)
            held = data.split("test")
            real = held.take(torch.arange(min(n, len(held))))
            for evaluations, solver in solvers.items():
                x = flow.solve(len(real.x), solver=solver, seed=seed).x
                value = EnergyDistance()(Examples(x), real)["energy_distance"]
                table.add(seed, f"{arm} {evaluations}", value)
    return table.means()


def test_one_evaluation_on_the_checkerboard():
    found = energies("meanflow-checkerboard", 2000, "checkerboard, energy distance")
    assert found["meanflow 1"] <= 0.2 * found["flow matching 1"]
    assert found["meanflow 2"] <= 0.4 * found["flow matching 2"]


def test_one_evaluation_on_the_sphere():
    found = energies("meanflow-sphere", 2000, "sphere, energy distance")
    assert found["meanflow 1"] <= 0.2 * found["flow matching 1"]
    assert found["meanflow 2"] <= 0.4 * found["flow matching 2"]


def on_digits(seed: int, table: Table) -> None:
    """Figures of one seed: 1,000 samples, a hundred of each class, beside held-out digits."""
    dropout = "objective={use: flow-matching, condition_dropout: 0.1}"
    arms: dict[str, tuple[list[str], dict[int, Solver]]] = {
        "meanflow": ([], {k: FlowMapSteps(k) for k in (1, 2, 4)}),
        "flow matching": (
            [dropout, "solver=euler"],
            {1: Euler(1), 2: Euler(2), 4: Euler(4), 50: Midpoint(25)},
        ),
    }
    judge, label = ImageQuality(), torch.arange(1000) % 10
    for arm, (overrides, solvers) in arms.items():
        flow, data = trained("meanflow-digits", seed, *overrides)
        judge.fit(data)
        real = data.split("test").all()
        for evaluations, solver in solvers.items():
            x = flow.sample(1000, solver=solver, seed=seed, label=label)
            for name, value in judge(Examples(x, {"label": label}), real).items():
                table.add(seed, f"{arm} {evaluations} {name}", value)


def test_one_evaluation_on_digits():
    table = Table("digits, by a classifier")
    for seed in SEEDS:
        on_digits(seed, table)
    found = table.means()
    assert found["meanflow 1 frechet"] <= 0.5 * found["flow matching 1 frechet"]
    assert found["meanflow 1 recall"] > found["flow matching 1 recall"]
