"""What a recipe costs: parameters, operations and memory of a step, without carrying it out.

Everything is built as a run would build it; the step itself then goes through tensors that have shapes and no
numbers (torch's fake tensors) under torch's own counter of operations, so that it costs nothing at any size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from flowloom.data import Dataset
from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.fields.base import evaluate, time_tensor
from flowloom.flow import Flow
from flowloom.objectives import Batch, Step
from flowloom.seeds import generator
from flowloom.spec import Spec
from flowloom.state import map_state
from flowloom.training import Trainer
from flowloom.training.ema import twin_of
from flowloom.training.players import Player
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.runs.assembly import Assembly, assemble
from flowloom_registry.runs.assumed import Assumed
from flowloom_registry.runs.facts import trained_parameters

__all__ = ["Cost", "Memory", "costs", "seconds_a_step"]

_VALUES_NEEDED = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)
"""What fake tensors raise where a step looks at numbers or uses an operation that torch has no shapes of."""


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(out, query, key, value))


_ON_THE_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Attention as the CPU does it, which torch's counter leaves out."""


@dataclass(frozen=True)
class Memory:
    """Bytes of training, all there at once when the backward pass begins.

    Args:
        weights: parameters and buffers, frozen ones too.
        gradients: of the turn with the most parameters.
        optimizers: what all of them remember.
        averages: averaged weights.
        activations: what the backward pass keeps, of the turn that keeps most; with forward derivatives
            (few-step methods) too much, by what these keep for themselves.
    """

    weights: int
    gradients: int
    optimizers: int
    averages: int
    activations: int

    @property
    def total(self) -> int:
        """Their sum; a lower bound, since what lives for one operation only is not in it."""
        return self.weights + self.gradients + self.optimizers + self.averages + self.activations


@dataclass(frozen=True)
class Cost:
    """What one training of a recipe costs.

    Operations are those of matrix products, convolutions and attention, a multiplication and an addition
    each; what works entry by entry is not counted.

    Args:
        stage: its name, None in a recipe without stages.
        parameters: numbers in the flow, frozen ones too.
        trained: those that training moves.
        steps: of the training.
        batch: examples a batch.
        operations: of one optimiser step of every turn: forward and backward, teachers, critics, forward
            derivatives, repeats and accumulation included.
        evaluation: operations of one evaluation of the field for one example, guidance included; None where
            nothing is sampled.
        memory: while it trains.
    """

    stage: str | None
    parameters: int
    trained: int
    steps: int
    batch: int
    operations: int
    evaluation: int | None
    memory: Memory

    @property
    def whole(self) -> int:
        """Operations of the whole training."""
        return self.operations * self.steps

    def hours(self, rate: float) -> float:
        """Hours of the training on a device that does ``rate`` operations a second."""
        return self.whole / rate / 3600


def costs(recipe: Recipe, like: Spec | None = None) -> Iterator[tuple[Cost, Assembly]]:
    """The cost of each of a recipe's stages, in order, with its parts.

    Args:
        recipe: what is asked about.
        like: form of the data; where None, the data are read, which have to be at hand.

    Raises:
        ConfigError: the recipe has problems.
        DataError: its data cannot be read here, and ``like`` is None.
        IncompatibleError: a step cannot be counted; says why.
    """
    stand_in: Callable[[Callable[[], Any]], Any] | None = None
    if like is not None:
        data = Assumed(like)

        def stand_in(make: Callable[[], Any]) -> Dataset:
            return data

    planned: dict[str, Assembly] = {}
    for one in stages_of(recipe):
        assembly = assemble(one, planned=planned, data=stand_in)
        stage = None if one.stage is None else one.stage.name
        yield cost_of(assembly, stage), assembly
        if stage is not None:
            planned[stage] = assembly


def cost_of(assembly: Assembly, stage: str | None = None) -> Cost:
    """The cost of what is built.

    Raises:
        IncompatibleError: a step cannot be counted; says why.
    """
    flow, config = assembly.flow, replace(assembly.train, ema=0.0, compile=False, prefetch="off")
    assembly.fit_parts()
    trainer = Trainer(flow, assembly.feed, config, seed=assembly.seed)
    batch = _first(trainer) if trainer.players or flow.objective.generates else None
    weights = [*flow.parameters(), *flow.buffers()]
    operations, kept = 0, 0
    for index, player in enumerate(trainer.players):
        assert batch is not None
        done, bytes_ = _counted(partial(_turn, trainer, index, batch), weights)
        operations += done * player.turn.repeat * config.accumulate
        kept = max(kept, bytes_)
    largest = max((_bytes(player.parameters) for player in trainer.players), default=0)
    averages = _bytes(flow.trainable().values()) if assembly.train.ema and trainer.players else 0
    return Cost(
        stage=stage,
        parameters=sum(p.numel() for p in flow.parameters()),
        trained=trained_parameters(flow),
        steps=config.steps,
        batch=config.batch,
        operations=operations,
        evaluation=None if batch is None or not flow.objective.generates else _evaluation(flow, batch),
        memory=Memory(
            weights=_bytes(weights),
            gradients=largest,
            optimizers=sum(_remembered(player, config) for player in trainer.players),
            averages=averages,
            activations=kept,
        ),
    )


def seconds_a_step(assembly: Assembly, steps: int, device: torch.device) -> float:
    """The median time of some steps of training, after one more that is not counted.

    Args:
        assembly: what is trained; its weights move.
        steps: how many are timed.
        device: where.
    """
    assembly.to(device)
    config = replace(assembly.train, log_every=1)
    trainer = Trainer(assembly.flow, assembly.feed, config, seed=assembly.seed, device=device)
    times: list[float] = []
    began = time.perf_counter()
    for _ in trainer.run(min(config.steps, steps + 1)):
        now = time.perf_counter()
        times.append(now - began)
        began = now
    trainer.close()
    return statistics.median(times[1:] or times)


def _first(trainer: Trainer) -> Batch:
    if trainer.feed.refresh_every:
        raise IncompatibleError(
            f"{type(trainer.feed).__name__} makes its batches with the network that is trained, and such "
            "steps cannot be counted beforehand"
        )
    return trainer.batches[0]


def _turn(trainer: Trainer, index: int, batch: Batch) -> Callable[[], None]:
    """The loss of one turn, as the trainer takes it; gives what takes its gradient."""
    flow, config, player = trainer.flow, trainer.config, trainer.players[index]
    steps = max(1, config.steps)
    late = min(max(player.turn.after, steps // 2), steps - 1)  # after warm-ups, where all of it takes part
    copies = {id(p): p.detach() for p in flow.trainable().values()}
    step = Step(late, steps, generator(0, "plan"), lambda: twin_of(flow, copies))
    loss = trainer.loss(index, batch, step, 0)

    def backward() -> None:
        player.backward(loss.total, 1.0)
        player.zero_grad()

    return backward


def _evaluation(flow: Flow, batch: Batch) -> int | None:
    field = flow.field()
    x = map_state(lambda v: v[:1], batch.x0)
    cond = {name: value[:1] for name, value in batch.cond.items()}

    def once() -> Callable[[], None]:
        with torch.no_grad(), flow.evaluating():
            draws = generator(0, "plan")
            told = flow.objective.complete(cond, 1, draws)
            evaluate(field, x, time_tensor(sum(field.span) / 2, x), told, draws)
        return lambda: None

    try:
        return _counted(once, ())[0]
    except FlowloomError:
        return None  # a field that asks for something which only its own solver gives


def _counted(forward: Callable[[], Callable[[], None]], weights: Iterable[Tensor]) -> tuple[int, int]:
    """Operations of some work and of the backward pass that it gives, and bytes that it keeps in between.

    On fake tensors; on real ones where the work looks at numbers. Weights are there anyway, and not counted
    as kept.
    """
    try:
        with fake_tensor.FakeTensorMode(allow_non_fake_inputs=True) as mode:
            return _watched(forward, [mode.from_tensor(weight) for weight in weights])
    except _VALUES_NEEDED:
        return _watched(forward, weights)


class _NoModules:
    """Stands for the hooks that tell operations of one module from another's, which nobody asks here.

    They fail where a network is differentiated within a forward pass, as guidance by an energy does.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> _NoModules:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _watched(forward: Callable[[], Callable[[], None]], weights: Iterable[Tensor]) -> tuple[int, int]:
    counter = FlopCounterMode(display=False, custom_mapping=_ON_THE_CPU)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    known = {StorageWeakRef(weight.untyped_storage()).cdata for weight in weights}
    kept: dict[int, tuple[StorageWeakRef, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            reference = StorageWeakRef(storage)
            if reference.cdata not in known:
                kept[reference.cdata] = reference, storage.nbytes()
        return tensor

    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backward = forward()
        # What forward derivatives kept of their own has gone by now.
        held = sum(size for reference, size in kept.values() if not reference.expired())
        backward()
    return counter.get_total_flops(), held


def _remembered(player: Player, config: Any) -> int:
    """Bytes that the optimisers of a turn keep: those of one step on fake parameters."""
    with fake_tensor.FakeTensorMode():
        fakes = {
            name: nn.Parameter(torch.empty(p.shape, dtype=p.dtype))
            for name, p in player.turn.parameters.items()
        }
        for p in fakes.values():
            p.grad = torch.empty_like(p)
        twin = Player(replace(player.turn, parameters=fakes), config, torch.device("cpu"))
        twin.move(0.0)
        return _bytes(twin.state().values())


def _bytes(tensors: Any) -> int:
    """Of tensors, each counted once."""
    return sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
