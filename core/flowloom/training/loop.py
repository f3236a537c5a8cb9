"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError, TrainingError
from flowloom.objectives import Batch, Loss, Step
from flowloom.parts import set_mode
from flowloom.seeds import derive, generator
from flowloom.training.ahead import Batches, wants_thread
from flowloom.training.blocks import networks_of, recompute
from flowloom.training.config import TrainConfig
from flowloom.training.ema import EMA, require_averages, twin_of
from flowloom.training.feeds import Feed, Feeding
from flowloom.training.parallel.engine import engine_for, require_parallel
from flowloom.training.parallel.world import World, noticing_loss
from flowloom.training.players import Player, players_of

if TYPE_CHECKING:
    from flowloom.flow import Flow

Metrics = dict[str, float]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingModule(nn.Module):
    """A flow whose ``forward`` is the loss of a turn, so that the hooks of torch's engines fire.

    Args:
        flow: what is trained.
        player: whose turn it is.
    """

    def __init__(self, flow: Flow, player: Player) -> None:
        super().__init__()
        self.flow, self.player = flow, player

    def forward(self, batch: Batch, step: Step) -> Loss:
        """The loss of the turn; a learned source acts here, under gradient."""
        x0 = self.flow.source.push(batch.x0, batch.cond)
        return self.player.turn.loss(batch if x0 is batch.x0 else replace(batch, x0=x0), step)


class Trainer:
    """Trains a flow, turn by turn.

    The state is ``step``, the flow's tensors, their averages, the optimisers and the feed's; everything
    random is a function of the seed and the step. A trainer restored from a checkpoint therefore goes on as
    if it had never stopped, bit for bit on the CPU.

    Where torch.distributed has a process group, its processes train together (`parallel`); each of them makes
    a trainer of the same flow and feed, and runs it to the same steps.

    Args:
        flow: what is trained; moved to ``device``.
        feed: where batches come from.
        config: settings.
        seed: of everything random.
        device: where to train.

    Raises:
        IncompatibleError: there is nothing to train, settings name turns or parameters that there are not, or
            the loss does not compile.
    """

    def __init__(
        self,
        flow: Flow,
        feed: Feed,
        config: TrainConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.seed, self.device = config or TrainConfig(), seed, torch.device(device)
        self.world = world = World.now()
        parallel = self.config.parallel
        examples = feed.examples() if world.size > 1 else None
        rows = None if examples is None else len(examples)
        require_parallel(self.config, world, rows)
        if self.config.compile == "loss" and not flow.objective.compiles:
            raise IncompatibleError(
                f"{type(flow.objective).__name__} has derivatives inside its loss, and torch.compile takes "
                "no gradient of those; use train.compile: true, or false"
            )
        self.flow, self.feed = flow.to(self.device), feed
        if self.config.channels_last:
            flow.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.recompute:
            for network in networks_of(flow):
                recompute(network)
        # Of its own rows, process r of N makes batches r, r + N, ... of a training with N times as many.
        self._shares = world.size if parallel.batch == "own" else 1
        feed.start(Feeding(flow, self.config.batch // self._shares, seed, self.device))
        self.ema = EMA(flow, self.config.ema) if self.config.ema else None
        self.engine = engine_for(parallel, world)
        self.engine.prepare(flow, self.ema, self.device)
        turns = flow.objective.turns(flow) if self.config.steps else ()
        self.players = players_of(turns, flow.trainable(), self.config, self.device)
        modules = [TrainingModule(flow, player) for player in self.players]
        for module in modules if self.config.compile == "loss" else ():
            module.compile()
        if self.config.compile is True:
            flow.model.compile()
        self.engine.begin(modules, self.players)
        ahead = wants_thread(self.config.prefetch, feed)
        self.batches = Batches(feed, ahead=ahead, stride=self._shares)
        self._repeats = max((player.turn.repeat for player in self.players), default=1)
        self.step = 0
        self.stopping = False
        self.asked_to_stop = False
        # Finiteness is read at every step on the CPU; elsewhere reading would stall the device.
        self._check_every = 1 if self.device.type == "cpu" else self.config.log_every

    @property
    def shares_checkpoints(self) -> bool:
        """Whether all processes write checkpoints, each its share; one alone writes all in that form."""
        return self.config.parallel.sharded

    def averaged(self) -> Flow:
        """The flow that samples come from: averaged weights, evaluation mode, a copy of now.

        Raises:
            IncompatibleError: weights are sharded and nothing is averaged.
        """
        if self.ema is None and self.engine.shards:
            raise IncompatibleError(
                "looks at a flow whose weights are sharded are at its averages; set train.ema, or engine: ddp"
            )
        return self.ema.averaged if self.ema is not None else twin_of(self.flow, _copies(self.flow))

    def stop(self) -> None:
        """End `run` after a step, the same one in all processes; a signal handler may call this."""
        self.asked_to_stop = True

    def agree_to_stop(self) -> bool:
        """Whether any process was asked to; all of them ask. ``stopping`` says so from then on."""
        # Apart from what a signal sets: it may come while processes agree, or where they do not.
        self.stopping = self.world.any(self.asked_to_stop)
        return self.stopping

    def run(self, until: int | None = None) -> Iterator[Metrics]:
        """Train to step ``until`` (the configured end by default), yielding metrics as they are logged.

        `stop` ends the loop between two steps. The global generator of torch, which dropout draws from, is
        left as it was found.

        Metrics are yielded after steps divisible by ``log_every`` and after the last: ``step`` (number of
        steps done), ``loss`` (mean since the last line, summed over turns), its parts, ``grad_norm``, ``lr``,
        ``examples_per_second``. Where there are several turns, what belongs to one carries its name:
        ``critic/loss``.

        Raises:
            TrainingError: the loss or the gradient is not finite. The weights are then those before the
                bad step on the CPU.
            ProcessLostError: another process is gone.
            IncompatibleError: the objective learns from averaged weights, and there are none.
        """
        until = self.config.steps if until is None else until
        if self.step < until:
            require_averages(self.flow, self.config.ema)
        set_mode(self.flow, True)
        while self.step < until and not self.stopping:
            with _global_generator(self.device), noticing_loss():
                metrics = self._until_logged(until)
            yield metrics

    def _until_logged(self, until: int) -> Metrics:
        since, began = 0, time.perf_counter()
        sums, said = dict[str, Tensor](), dict[str, int]()
        while True:
            values = self._step()
            self.step += 1
            since += 1
            self.agree_to_stop()
            for name, value in values.items():
                sums[name] = sums[name] + value if name in sums else value
                said[name] = said.get(name, 0) + 1
            if self.step % self.config.log_every == 0 or self.step == until or self.stopping:
                break
        # Of the steps that said it: what a feed tells of a look at the flow is not one of every step.
        means = {name: float(total) / said[name] for name, total in sums.items()}
        if not all(map(math.isfinite, means.values())):
            self._not_finite(means)
        elapsed = time.perf_counter() - began
        rates = {
            self._named(player, "lr"): player.rate(self.step - 1, self.config.steps)
            for player in self.players
        }
        seen = since * self.config.batch * self.config.accumulate * self._repeats
        return {"step": self.step, **means, **rates, "examples_per_second": seen / max(elapsed, 1e-9)}

    def _step(self) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        every = self.feed.refresh_every
        if every and self.step % every == 0:
            values |= self._refresh()
        drawn: dict[int, Batch] = {}
        for index, player in enumerate(self.players):
            if self.step < player.turn.after:
                continue
            for repeat in range(player.turn.repeat):
                for name, value in self._move(index, player, repeat, drawn).items():
                    values[name] = values[name] + value if name in values else value
        if self._check_every == 1 and not all(map(math.isfinite, map(float, values.values()))):
            self._not_finite({k: float(v) for k, v in values.items()})
        if self.ema is not None:
            self.ema.update(self.step)
        return values

    def _move(self, index: int, player: Player, repeat: int, drawn: dict[int, Batch]) -> dict[str, Tensor]:
        """One optimiser step of one player."""
        count, share = self.config.accumulate, 1 / self.config.accumulate
        values: dict[str, Tensor] = {}
        player.zero_grad()
        for i in range(count):
            number = (self.step * self._repeats + repeat) * count + i
            if self._shares > 1:
                number = number * self._shares + self.world.rank
            if number not in drawn:
                drawn[number] = self.batches[number]
            with self.engine.syncing(index, i == count - 1):
                loss = self._loss(index, drawn[number], number)
                total = player.backward(loss.total, share, everywhere=self.engine.shards)
            named = {} if isinstance(loss.total, Tensor) else loss.total
            for name, value in {"loss": total, **named, **loss.parts}.items():
                part = value.detach() * (share / player.turn.repeat)
                values[name] = values[name] + part if name in values else part
        if self._shares > 1:
            values = self.world.average_of(values)
        self.engine.finish(player, self.players)
        norm = player.clipped()
        # What overflows in float16 is no fault: the step is passed over.
        if norm is not None and player.scaling.scaler is None:
            values["grad_norm"] = norm / player.turn.repeat
        if self._check_every == 1 and not all(map(math.isfinite, map(float, values.values()))):
            self._not_finite({k: float(v) for k, v in values.items()})
        moved = player.move(player.rate(self.step, self.config.steps))
        if player.scaling.scaler is not None:
            values["passed_over"] = torch.tensor(float(not moved)) / player.turn.repeat
        logged = {self._named(player, name): value for name, value in values.items()}
        return {"loss": values["loss"], **logged} if len(self.players) > 1 else logged

    def loss(self, index: int, batch: Batch, step: Step, seed: int) -> Loss:
        """The loss of one turn on a batch, in the precision of the training.

        Args:
            index: of the turn.
            batch: coupled ends.
            step: where training stands.
            seed: of what networks draw where their calls are split among processes.
        """
        half = HALF.get(self.config.precision)
        with torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None):
            return self.engine.loss(index, batch, step, seed)

    def _loss(self, index: int, batch: Batch, number: int) -> Loss:
        # Dropout draws from the global generator. torch.manual_seed also records a stack trace for every kind
        # of accelerator that is not in use, which costs more than a small network's optimiser step.
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        turn = f"/{index}" if index else ""
        seed(derive(self.seed, f"model{turn}", number))
        step = Step(
            self.step,
            self.config.steps,
            generator(self.seed, f"objective{turn}", number, self.device),
            self._average if self.ema is not None else None,
        )
        return self.loss(index, batch, step, derive(self.seed, f"model{turn}", number))

    def _average(self) -> Flow:
        assert self.ema is not None
        return self.ema.averaged

    def _refresh(self) -> dict[str, Tensor]:
        draws = generator(self.seed, "refresh", self.step, self.device)
        with self.flow.evaluating(), torch.no_grad():
            found = self.feed.refresh(self.flow, self.step, draws)
        return {name: torch.tensor(value) for name, value in found.items()}

    def _named(self, player: Player, name: str) -> str:
        return name if len(self.players) == 1 else f"{player.turn.name}/{name}"

    def _not_finite(self, values: Metrics) -> None:
        shown = ", ".join(f"{k} = {v:.4g}" for k, v in values.items())
        raise TrainingError(
            f"training is not finite at step {self.step}: {shown}; try a smaller train.lr "
            f"(now {self.config.lr:g}), a decay with more warmup, train.clip > 0, or look for NaN in the data"
        )

    def close(self) -> None:
        """Stop the data thread, and leave the networks as they were."""
        self.batches.close()
        self.engine.close()


def _copies(flow: Flow) -> dict[int, Tensor]:
    return {id(p): p.detach().clone() for p in flow.trainable().values()}


@contextmanager
def _global_generator(device: torch.device) -> Iterator[None]:
    """Give the global generators back as they were: ``fit(seed=)`` must not decide what its caller draws."""
    state = torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)
