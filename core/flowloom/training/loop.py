"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from flowloom.codecs import Codec
from flowloom.couplings import Coupling, Independent
from flowloom.data.base import Dataset
from flowloom.errors import TrainingError
from flowloom.objectives import Batch, Objective, TrainingModule
from flowloom.sources import Source
from flowloom.training.batches import Batches, wants_thread
from flowloom.training.config import TrainConfig
from flowloom.training.ema import EMA
from flowloom.training.optimizer import build_optimizer, learning_rate
from flowloom.training.seeds import derive, generator

Metrics = dict[str, float]


class Trainer:
    """Trains a model under an objective.

    The state is ``step``, weights, averaged weights and optimiser; everything random is a function of the
    seed and the step. A trainer restored from a checkpoint therefore goes on as if it had never stopped,
    bit for bit on the CPU.

    Args:
        model: the network, moved to ``device``.
        objective: how it is scored.
        data: training rows.
        source: law of x0.
        coupling: pairs x0 with x1.
        config: settings.
        seed: of everything random.
        device: where to train.
        codec: encodes data into states.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Dataset,
        source: Source,
        coupling: Coupling | None = None,
        config: TrainConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        codec: Codec | None = None,
    ) -> None:
        self.config, self.seed, self.device = config or TrainConfig(), seed, torch.device(device)
        coupling = coupling or Independent()
        self.module = TrainingModule(model, objective).to(self.device)
        self.model, self.objective = self.module.model, self.module.objective
        self.forward: Callable[[Batch, torch.Generator], object] = self.module
        if self.config.compile:
            self.model.compile()
        self.optimizer = build_optimizer(self.module, self.config)
        self.ema = EMA(self.model, self.config.ema) if self.config.ema else None
        self.batches = Batches(
            data,
            source,
            coupling,
            batch=self.config.batch,
            seed=seed,
            device=self.device,
            codec=codec,
            ahead=wants_thread(self.config.prefetch, data, coupling),
        )
        self.step = 0
        self.stopping = False
        # Finiteness is read at every step on the CPU; elsewhere reading would stall the device.
        self._check_every = 1 if self.device.type == "cpu" else self.config.log_every

    def run(self, until: int | None = None) -> Iterator[Metrics]:
        """Train to step ``until`` (the configured end by default), yielding metrics as they are logged.

        Setting ``stopping`` (from a signal handler, say) ends the loop between two steps.

        Metrics are yielded after steps divisible by ``log_every`` and after the last: ``step`` (number of
        steps done), ``loss`` (mean since the last line), its parts, ``grad_norm``, ``lr``,
        ``examples_per_second``.

        Raises:
            TrainingError: the loss or the gradient is not finite. The weights are then those before the
                bad step on the CPU.
        """
        until = self.config.steps if until is None else until
        self.module.train()
        since, began = 0, time.perf_counter()
        sums: dict[str, torch.Tensor] = {}
        while self.step < until and not self.stopping:
            values = self._step(self.batches[self.step])
            self.step += 1
            since += 1
            for name, value in values.items():
                sums[name] = sums[name] + value if name in sums else value
            if self.step % self.config.log_every == 0 or self.step == until or self.stopping:
                means = {name: float(total) / since for name, total in sums.items()}
                if not all(map(math.isfinite, means.values())):
                    self._not_finite(means)
                elapsed = time.perf_counter() - began
                yield {
                    "step": self.step,
                    **means,
                    "lr": self.optimizer.param_groups[0]["lr"],
                    "examples_per_second": since * self.config.batch / max(elapsed, 1e-9),
                }
                since, began, sums = 0, time.perf_counter(), {}

    def _step(self, batch: Batch) -> dict[str, torch.Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        # Dropout draws from the global generator. torch.manual_seed also records a stack trace for every kind
        # of accelerator that is not in use, which costs more than a small network's optimiser step.
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        seed(derive(self.seed, "model", self.step))
        draws = generator(self.seed, "objective", self.step, self.device)
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = self.module(batch, draws)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        values = {"loss": loss.total.detach(), **{k: v.detach() for k, v in loss.parts.items()}}
        if self.config.clip:
            values["grad_norm"] = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip)
        if self._check_every == 1 and not all(map(math.isfinite, map(float, values.values()))):
            self._not_finite({k: float(v) for k, v in values.items()})
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.step)
        return values

    def _not_finite(self, values: Metrics) -> None:
        shown = ", ".join(f"{k} = {v:.4g}" for k, v in values.items())
        raise TrainingError(
            f"training is not finite at step {self.step}: {shown}; try a smaller train.lr "
            f"(now {self.config.lr:g}), more train.warmup, train.clip > 0, or look for NaN in the data"
        )

    def close(self) -> None:
        """Stop the data thread."""
        self.batches.close()
