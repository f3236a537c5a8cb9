"""Training that keeps the weights which did best on held-out data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from flowloom.data.base import Dataset
from flowloom.flow import Flow
from flowloom.solvers import Solver
from flowloom.state import State, batch_size, take
from flowloom.training import TrainConfig


@dataclass
class Best:
    """What early stopping found.

    Args:
        step: at which the kept weights were.
        score: theirs, lower is better.
        history: ``(step, score)`` of every look.
    """

    step: int = 0
    score: float = float("inf")
    history: list[tuple[int, float]] = field(default_factory=list)


def fit_best(
    flow: Flow,
    data: Dataset,
    config: TrainConfig,
    score: Callable[[Flow], float],
    *,
    every: int = 1000,
    patience: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_look: Callable[[int, float], None] | None = None,
) -> Best:
    """Train ``flow`` and leave it with the (averaged) weights that scored lowest.

    Args:
        flow: trained in place.
        data: training split; its codec, where there is one, is fitted by the caller.
        config: settings; the schedule of the learning rate runs over all ``config.steps``.
        score: called with a flow of averaged weights; lower is better. Must not see the test split.
        every: steps between looks; the last step is always looked at.
        patience: stop after this many looks without a better one; never where None.
        seed: of everything random in training.
        device: where to train.
        on_look: called with every step and score.
    """
    trainer = flow.trainer(data, config, seed=seed, device=device)
    shadow = copy.copy(flow)
    shadow.model = copy.deepcopy(trainer.model)
    best, kept, worse = Best(), {k: v.clone() for k, v in trainer.model.state_dict().items()}, 0
    try:
        while trainer.step < config.steps:
            for _ in trainer.run(min(config.steps, (trainer.step // every + 1) * every)):
                pass
            shadow.model.load_state_dict(trainer.model.state_dict())
            if trainer.ema is not None:
                trainer.ema.copy_to(shadow.model)
            shadow.model.eval()
            value = score(shadow)
            best.history.append((trainer.step, value))
            if on_look is not None:
                on_look(trainer.step, value)
            worse = 0 if value < best.score else worse + 1
            if value < best.score:
                best.step, best.score = trainer.step, value
                kept = {k: v.clone() for k, v in shadow.model.state_dict().items()}
            if patience is not None and worse >= patience:
                break
    finally:
        trainer.close()
    flow.model.load_state_dict(kept)
    flow.model.eval()
    return best


def mean_nll(flow: Flow, x: State, solver: Solver | None = None, batch: int = 2048) -> float:
    """Mean negative log density of states ``x`` in nats, with exact divergence."""
    rows = torch.arange(batch_size(x))
    with torch.no_grad():
        values = torch.cat([flow.log_prob(take(x, part), solver=solver) for part in rows.split(batch)])
    return -float(values.double().mean())
