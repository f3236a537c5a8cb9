"""What a recipe's ``evaluate`` and ``sample`` sections may say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from flowloom.scores import Score


@dataclass(frozen=True)
class EvaluateConfig:
    """How a trained run is judged.

    Samples, training data (what perfect samples would score) and baseline are compared with held-out data, in
    the same numbers, samples and baseline under the conditions of the same held-out rows. Scores are of as
    many held-out examples and as many training examples.

    Args:
        n: examples a column, at most as many as are held out.
        reference: held-out examples that all columns are compared with, at most; as many training examples
            are what the Gaussian is fitted to.
        batch: examples sampled at a time.
        seed: of the samples and of the baseline.
        split: held-out split; one that the data lack is a mistake, unless it is the default.
        baseline: ``gaussian`` fits one Gaussian (one for each class, where the data has classes).
        sweep_solvers: solvers whose quality against network evaluations is measured; three ODE solvers
            where left out and the flow is an ODE.
        sweep_nfe: network evaluations at which they are measured; no entries switch the sweep off.
        sweep_n: examples a point of the sweep.
        questions: what a task asks about, at most as many rows as are held out.
    """

    n: int = 2000
    reference: int = 10_000
    batch: int = 500
    seed: int = 0
    split: str = "test"
    baseline: Literal["gaussian", "none"] = "gaussian"
    sweep_solvers: tuple[str, ...] = ()
    sweep_nfe: tuple[int, ...] = (2, 4, 8, 16, 32)
    sweep_n: int = 500
    questions: int = 200

    def __post_init__(self) -> None:
        for name in ("n", "reference", "batch", "sweep_n", "questions"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluate.{name} must be at least 1, got {getattr(self, name)}")
        if any(nfe < 1 for nfe in self.sweep_nfe):
            raise ValueError(f"evaluate.sweep_nfe counts evaluations from 1, got {list(self.sweep_nfe)}")


@dataclass(frozen=True)
class ValidateConfig:
    """Looks at held-out data during training, after which the weights that did best are kept.

    Before the first step, every so many steps and after the last, the averaged weights are scored on the same
    held-out examples.
    The first value that the score calls better decides. What training draws is not disturbed: a run with
    looks takes the same steps as one without.

    Args:
        score: what is asked of the weights; no looks where None.
        every: steps between looks.
        patience: stop after so many looks without a better one; never where None. The schedule of the
            learning rate still runs over all of ``train.steps``.
        n: held-out examples, at most; always the same ones.
        split: where they are from; not the split that the run is judged on.
        seed: which examples they are, and of everything random in the score.
    """

    score: Score | None = None
    every: int = 1000
    patience: int | None = None
    n: int = 500
    split: str = "val"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("every", "n", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"validate.{name} must be at least 1, got {value}")
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if self.score is None and changed:
            raise ValueError(f"validate.{changed[0]} is set without a score; add 'score: likelihood', say")
        if self.score is not None and not self.score.better:
            raise ValueError(f"{type(self.score).__name__} does not say which of its values is better")


@dataclass(frozen=True)
class SampleConfig:
    """What a run draws for its report.

    Args:
        n: examples, spread over the classes where there are classes.
        frames: states of the trajectory that are shown.
        rows: examples whose trajectory is shown.
        seed: of the draws.
    """

    n: int = 100
    frames: int = 8
    rows: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1 or self.frames < 2 or self.rows < 1:
            raise ValueError("sample.n and sample.rows must be at least 1, sample.frames at least 2")
