"""What a recipe would cost: against real steps, closed forms and measured memory."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from flowloom.objectives import Step
from flowloom.seeds import generator
from flowloom.spec import Condition, Spec
from flowloom.training import Trainer
from flowloom_registry.cli import main
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble
from flowloom_registry.runs.cost import costs

IMAGES = Spec((1, 8, 8), conditions={"label": Condition(10)}, limits=(-1.0, 1.0))


def cost_of(name, *overrides, like=None):
    return [cost for cost, _ in costs(load_recipe(name, overrides=overrides), like)]


def trainer_of(name, *overrides):
    assembly = assemble(load_recipe(name, overrides=overrides))
    assembly.fit_parts()
    return Trainer(assembly.flow, assembly.feed, assembly.train, seed=0)


def turns(trainer):
    """Forward and backward of every turn, on numbers."""
    for index, player in enumerate(trainer.players):
        step = Step(1, 2, generator(0, "x"), trainer.averaged)
        player.backward(trainer.engine.loss(index, trainer.batches[0], step, 0).total, 1.0)


def test_a_perceptron_by_hand():
    """Forward is 2 b w for every matrix of w weights; backward twice that, less what no input asks for."""
    (cost,) = cost_of("eight-gaussians", "train.batch=64", "coupling=independent")
    flow = assemble(load_recipe("eight-gaussians")).flow
    layers = [layer.weight for layer in flow.model.modules() if isinstance(layer, torch.nn.Linear)]
    weights = sum(weight.numel() for weight in layers)
    assert 2 * 3 * 64 * weights * 0.85 < cost.operations <= 2 * 3 * 64 * weights
    assert cost.parameters == cost.trained == sum(p.numel() for p in flow.parameters())
    memory = cost.memory
    assert memory.gradients == memory.averages == 4 * cost.trained
    assert 8 * cost.trained <= memory.optimizers < 8.1 * cost.trained


@pytest.mark.parametrize(
    "name", ["eight-gaussians", "digits-small", "meanflow-checkerboard", "adversarial-flow-ring", "markov"]
)
def test_steps_without_numbers_count_as_real_ones(name):
    pytest.importorskip("flowloom_fewstep")
    (cost,) = cost_of(name, "train.batch=16")
    trainer = trainer_of(name, "train.batch=16")
    with FlopCounterMode(display=False) as counter:
        turns(trainer)
    counted = counter.get_total_flops()
    # Attention on the CPU is what torch's counter leaves out.
    assert counted <= cost.operations <= counted * (1.2 if name == "markov" else 1)


def test_attention_of_a_transformer_by_hand():
    pytest.importorskip("flowloom_images")
    model = "model={use: dit, width: 32, depth: 3, heads: 2, patch: 2}"
    (cost,) = cost_of("digits-small", model, "train.steps=1", "guidance=null", like=IMAGES)
    flow = assemble(load_recipe("digits-small", overrides=[model])).flow
    tokens, blocks, width = 16, 3, 32
    # In a block: four maps of the width, two of four times that; attention is two products of 16 x 16.
    per_block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    steering = sum(  # one row an example
        2 * layer.weight.numel()
        for name, layer in flow.model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.weight.shape[0] in (6 * width, 2 * width)
    )
    assert blocks * per_block < cost.evaluation < 1.15 * (blocks * per_block + steering)


@pytest.mark.parametrize("name", ["digits-small", "eight-gaussians"])
def test_memory_is_what_a_step_takes(name):
    """Kept for the backward pass: within a fifth of what torch's profiler sees allocated."""
    pytest.importorskip("flowloom_fewstep")
    (cost,) = cost_of(name, "train.batch=256")
    trainer = trainer_of(name, "train.batch=256")
    batch = trainer.batches[0]
    with profile(profile_memory=True) as seen:
        loss = trainer.engine.loss(0, batch, Step(1, 2, generator(0, "x"), trainer.averaged), 0)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = sum(e.nbytes() for e in events)
    assert loss.total.requires_grad
    assert 0.8 < cost.memory.activations / held < 1.2


def test_data_that_are_not_here_are_described(capsys):
    pytest.importorskip("flowloom_images")
    small = ["--set", "model={use: dit, width: 16, depth: 1, heads: 2, patch: 2}"]
    assert main(["plan", "imagenet-sit-xl-2", *small]) == 2
    assert "--like 4x32x32 --classes label=1000" in capsys.readouterr().err
    assert main(["plan", "imagenet-sit-xl-2", *small, "--like", "4x32x32", "--classes", "label=10"]) == 0
    told = capsys.readouterr().out
    assert all(words in told for words in ("for 256 examples", "7,000,000 steps", "H100"))


def test_every_stage_is_told_and_steps_are_timed(capsys):
    pytest.importorskip("flowloom_fewstep")
    assert main(["plan", "align-your-flow-ring", "--measure", "2", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert [told.count(words) for words in ("stage teacher", "stage student", "s a step")] == [1, 1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--like", "4y4"], "a shape is sizes with x between them"),
        (["--like", "0x4"], "a shape is sizes with x between them"),
        (["--classes", "label=3"], "say --like too"),
        (["--like", "2", "--classes", "label=none"], "a whole number above 0"),
        (["--like", "2", "--vocab", "1"], "at least 2"),
        (["--share", "0"], "(0, 1]"),
        (["--measure", "-1"], "a whole number from 1"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["plan", "eight-gaussians", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_nothing_is_counted_where_nothing_is_trained(capsys):
    assert main(["plan", "eight-gaussians", "--set", "train.steps=0"]) == 0
    assert "training     none" in capsys.readouterr().out
