"""The method of ``docs/write-a-method.md`` does what the page says: its file is taken from there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import flowloom as fl
from flowloom.testing import check
from flowloom.training import Adam, Sum, TrainConfig, TurnConfig, load_checkpoint, save_checkpoint
from flowloom.training.players import players_of

PAGE = (Path(__file__).parents[1] / "docs" / "write-a-method.md").read_text()
FILE = "\n\n".join(re.findall(r"(?:Save as|Add to)\s+`meanflow.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))
SPEC = fl.Spec((2,))


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    file = tmp_path_factory.mktemp("page") / "meanflow.py"
    file.write_text(FILE)
    spec = importlib.util.spec_from_file_location("meanflow_of_the_page", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def flow_of(objective: fl.objectives.Objective, width: int, seed: int = 0) -> fl.Flow:
    torch.manual_seed(seed)
    return fl.Flow(
        fl.models.MLP(SPEC.plus(objective.conditions()), width=width),
        objective=objective,
        roles={"critic": fl.models.MLP(SPEC, width=width)},
        solver=fl.solvers.FlowMapSteps(1),
    )


def points(n: int = 4000, seed: int = 0) -> torch.Tensor:
    x = fl.data.EightGaussians(n, seed=seed).take(torch.arange(n)).x
    assert isinstance(x, torch.Tensor)
    return x


def distance(flow: fl.Flow) -> float:
    made = fl.data.Examples(flow.sample(500, seed=1))
    return fl.metrics.EnergyDistance()(made, fl.data.Examples(points(500, seed=1)))["energy_distance"]


def test_the_page_has_three_classes(method: ModuleType) -> None:
    assert FILE.count("(MeanFlow)") == 1
    assert issubclass(method.TaughtMeanFlow, method.AdversarialMeanFlow)


def test_one_step_beats_an_untrained_network_and_an_euler_step(method: ModuleType) -> None:
    objective = method.MeanFlow(share=0.5)
    torch.manual_seed(0)
    model = fl.models.MLP(SPEC.plus(objective.conditions()), width=64)
    flow = fl.Flow(model, objective=objective, solver=fl.solvers.FlowMapSteps(1))
    untrained = distance(flow)
    flow.fit(points(), steps=150, batch=128, lr=2e-3, ema=0.98)
    torch.manual_seed(0)
    plain = fl.Flow(fl.models.MLP(SPEC, width=64), solver=fl.solvers.Euler(1))
    plain.fit(points(), steps=150, batch=128, lr=2e-3, ema=0.98)
    trained = distance(flow)
    assert trained < untrained / 2
    assert trained < distance(plain) / 5


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_knows_the_exact_answer(method: ModuleType, sign: int) -> None:
    """All data in one point c: the flow is straight, ``X(x, s, t) = x + (t - s) (c - x) / (1 - s)``.

    That answer has no loss; with the derivative's other sign it would.
    """

    class Exact(torch.nn.Module):
        def forward(self, x: torch.Tensor, s: torch.Tensor, until: torch.Tensor) -> torch.Tensor:
            bent = 0.0 if sign > 0 else 0.5 * (until - s)[:, None] * (1 - x)
            return (1 - x) / (1 - s)[:, None] + bent

    draws = torch.Generator().manual_seed(0)
    x0 = torch.randn(256, 2, generator=draws, dtype=torch.float64)
    batch = fl.objectives.Batch(x0, torch.ones_like(x0))
    step = fl.objectives.Step(generator=draws)
    square = method.MeanFlow(share=0.9).loss(Exact(), batch, step).parts["square"]
    assert (square < 1e-12) == (sign > 0)


def test_the_derivative_is_along_the_flow(method: ModuleType) -> None:
    """Against differences of first order, on a network."""
    torch.manual_seed(0)
    model = fl.models.MLP(SPEC.plus({"until": fl.Condition(role="setting")}), width=16).double()
    x, v = torch.randn(2, 8, 2, dtype=torch.float64)
    s, t = torch.rand(2, 8, dtype=torch.float64)
    _, change = method.average_velocity(model, x, s, t, v, {})
    h = 1e-5
    ends = [model(x + h * k * v, s + h * k, until=t) for k in (-1, 1)]
    assert torch.allclose(change, (ends[1] - ends[0]) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("name", ["MeanFlow", "AdversarialMeanFlow", "TaughtMeanFlow"])
def test_laws(method: ModuleType, name: str) -> None:
    results = check(getattr(method, name)())
    assert [result.name for result in results if not result.ok] == []
    assert sum(result.status == "passed" for result in results) >= 6


def test_a_second_time_that_is_not_named_breaks_a_law(method: ModuleType) -> None:
    """It could be given to a draw, beside the one that the field tells."""

    class Untold(method.MeanFlow):  # type: ignore[name-defined, misc]
        tells = ()

    broken = [result for result in check(Untold()) if not result.ok]
    assert [result.name for result in broken] == ["check_a_flow_map_tells_its_settings"]
    assert "until is told once; name it in `tells`" in str(broken[0])


def test_the_players_move_their_own_parameters(method: ModuleType) -> None:
    flow = flow_of(method.TaughtMeanFlow(share=0.5), 16)
    critic, generator = players_of(
        flow.objective.turns(flow), flow.trainable(), TrainConfig(steps=4), torch.device("cpu")
    )
    assert (critic.turn.repeat, generator.turn.repeat) == (2, 1)
    named = set(critic.turn.parameters) | set(generator.turn.parameters)
    assert named == set(flow.trainable())
    assert not set(critic.turn.parameters) & set(generator.turn.parameters)


def test_killed_and_continued_it_ends_with_the_same_bits(method: ModuleType, tmp_path: Path) -> None:
    data = fl.data.Tensors(points(500))

    def trainer(fitted: bool) -> fl.training.Trainer:
        flow = flow_of(method.TaughtMeanFlow(share=0.5), 16)
        if fitted:
            flow.fit_parts(data)
        settings = TrainConfig(
            steps=10,
            batch=32,
            lr=2e-3,
            combine=Sum({"adversarial": 0.1}),
            turns={"critic": TurnConfig(lr=1e-3, optimizer=Adam(betas=(0.0, 0.99)))},
        )
        return flow.trainer(data, settings)

    whole, stopped = trainer(True), trainer(True)
    lines = list(whole.run())
    assert {"critic/loss", "critic/slope", "generator/meanflow", "generator/adversarial"} <= set(lines[-1])
    list(stopped.run(until=4))
    continued = trainer(False)  # what was fitted comes from the checkpoint
    load_checkpoint(continued, save_checkpoint(stopped, tmp_path))
    list(continued.run())
    ends = fl.parts.tensors(whole.flow), fl.parts.tensors(continued.flow)
    assert float(ends[0]["objective.scale"]) != 1.0
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert whole.ema is not None
    assert continued.ema is not None
    assert all(map(torch.equal, whole.ema.average, continued.ema.average))


def test_without_averaged_weights_it_says_what_to_set(method: ModuleType) -> None:
    flow = flow_of(method.TaughtMeanFlow(), 16)
    with pytest.raises(fl.errors.IncompatibleError, match=r"set train\.ema"):
        flow.fit(points(100), steps=1, batch=8, ema=0.0)


def test_a_curved_space_is_refused(method: ModuleType) -> None:
    path = fl.paths.GeodesicPath(fl.geometry.Sphere(2))
    with pytest.raises(fl.errors.IncompatibleError, match="use euclidean"):
        method.MeanFlow(path)
