"""Classifiers of noisy points, for classifier guidance."""

from __future__ import annotations

import torch

from flowloom.data import Dataset
from flowloom.flow import Flow
from flowloom.objectives import Classification
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom_sequences.models import SequenceClassifier
from flowloom_sequences.simplex.codec import OneHot
from flowloom_sequences.simplex.source import DirichletSource
from flowloom_sequences.simplex.times import ExponentialTimes


def train_classifier(
    data: Dataset,
    path: Path,
    *,
    times: TimeLaw | None = None,
    label: str = "label",
    width: int = 32,
    steps: int = 400,
    batch: int = 128,
    lr: float = 2e-3,
    seed: int = 0,
) -> SequenceClassifier:
    """Train ``p(label | x_t, t)`` on points of a path, as classifier guidance needs it (2402.05841, 3.4).

    Args:
        data: token sequences with classes.
        path: of the flow that is to be guided, on one-hot rows from uniform Dirichlet noise.
        times: law of t; that of Dirichlet flows where left out.
        label: name of the class condition.
        width: channels.
        steps: of training.
        batch: examples a step.
        lr: learning rate of AdamW.
        seed: of weights, rows, times and noise.

    Returns:
        The classifier in evaluation mode, its weights frozen.

    Raises:
        IncompatibleError: the data has no such classes.
    """
    codec = OneHot(data.spec)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        model = SequenceClassifier(codec.spec, width=width, stacks=1, label=label)
        objective = Classification(path, times or ExponentialTimes(path=path), label)
        flow = Flow(model, source=DirichletSource(), path=path, objective=objective, codec=codec)
        flow.fit(data, seed=seed, steps=steps, batch=batch, lr=lr, ema=0.0)
    return model.eval().requires_grad_(False)
