"""Classifiers of noisy points, for classifier guidance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Dataset
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
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
    codec, law, source = OneHot(data.spec), times or ExponentialTimes(), DirichletSource()
    if label not in data.spec.conditions:
        raise IncompatibleError(f"the data has no classes named '{label}' to tell apart")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        model = SequenceClassifier(codec.spec, width=width, stacks=1, label=label)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        for _ in range(steps):
            examples = data.take(torch.randint(len(data), (batch,), generator=generator))
            x1 = codec.encode_state(examples.x)
            x0 = source.sample(tuple(x1.shape), Draw(generator))
            t = law.sample(len(x1), Draw(generator))
            x_t = path.sample(x0, x1, t, generator=generator).x_t
            assert isinstance(x_t, Tensor)
            mask = {k: examples.cond[k] for k in data.spec.named("real")}
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x_t, t, **mask), examples.cond[label]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)
