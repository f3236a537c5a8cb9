"""Looks at held-out data during training: the best weights are kept, and training may stop early.

Nothing here touches what training draws: the weights that are looked at are a copy, and every random number
of a look comes from its own seed. The history is the run's own ``metrics.jsonl``, which is cut back to the
checkpoint that a continued run starts from; the best weights are one file that carries its step and score.
So a run that was killed decides as it would have decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open

from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError, RunError
from flowloom.scores import Score
from flowloom.training import Trainer
from flowloom_registry.runs.assembly import Assembly, rows_of
from flowloom_registry.runs.folder import RunFolder, write_bytes
from flowloom_registry.runs.weights import weights_of


@dataclass(frozen=True)
class Best:
    """The look that was best so far.

    Args:
        step: of the weights.
        value: their score.
    """

    step: int
    value: float


class Validation:
    """Scores averaged weights on a held-out split before the first step and every so many from there.

    Args:
        assembly: whose ``validate`` section says how; its codec must be fitted.
        folder: of the run.
        trainer: whose weights are looked at.
    """

    def __init__(self, assembly: Assembly, folder: RunFolder, trainer: Trainer) -> None:
        config = assembly.validate
        assert config.score is not None
        self.config, self.folder, self.trainer = config, folder, trainer
        self.score: Score = config.score
        self.deciding, way = deciding(self.score)
        self.sign = 1.0 if way == "lower" else -1.0
        rows = rows_of(
            assembly.require_data("validate: looks need held-out data").split(config.split),
            config.n,
            config.seed,
        )
        self.examples: Examples = assembly.encode(rows, trainer.device)
        self.name = column(config.split, self.deciding)
        lines = folder.read_metrics()
        self.history = [Best(line["step"], float(line[self.name])) for line in lines if self.name in line]
        self.kept = read_best(folder)

    def due(self, step: int) -> bool:
        """Whether to look after ``step`` steps; the first weights and the last are always looked at."""
        return step % self.config.every == 0 or step == self.trainer.config.steps

    def next_due(self, step: int) -> int:
        """The first step after ``step`` at which to look."""
        return min((step // self.config.every + 1) * self.config.every, self.trainer.config.steps)

    def look(self) -> dict[str, float]:
        """Score the weights of now, keep them where they are the best, and return what to log."""
        flow = self.trainer.averaged()
        values = self._agreed(self.score(flow, self.examples, seed=self.config.seed))
        now = Best(self.trainer.step, float(values[self.deciding]))
        self.history.append(now)
        if self._better(now, self.kept):
            metadata = {"step": str(now.step), "score": self.deciding, "value": repr(now.value)}
            weights = weights_of(flow, metadata)
            with self.trainer.world.together():
                if self.trainer.world.first:
                    write_bytes(self.folder.best, weights)
            self.kept = now
        return {column(self.config.split, name): value for name, value in values.items()}

    def _agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """As the first process has them: buffers may be each one's own, and all have to stop together."""
        told = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
        self.trainer.world.take_from_first([told])
        return dict(zip(values, told.tolist(), strict=True))

    def exhausted(self) -> bool:
        """Whether the last ``patience`` looks brought nothing better."""
        if self.config.patience is None:
            return False
        best: Best | None = None
        since = 0
        for look in self.history:
            since = 0 if self._better(look, best) else since + 1
            best = look if since == 0 else best
        return since >= self.config.patience

    def _better(self, one: Best, other: Best | None) -> bool:
        # NaN is never better, and no weights at all are worse than any finite score.
        if not math.isfinite(one.value):
            return False
        return other is None or self.sign * one.value < self.sign * other.value


def deciding(score: Score) -> tuple[str, str]:
    """The value of a score that decides, and which way is good."""
    return next(iter(score.better.items()))


def column(split: str, name: str) -> str:
    """Name under which a value of a look is logged."""
    return f"{split}_{name}"


def read_best(folder: RunFolder) -> Best | None:
    """Step and score of the kept weights, None where there are none.

    Raises:
        RunError: the file is damaged.
    """
    if not folder.best.is_file():
        return None
    try:
        with safe_open(folder.best, "pt") as file:
            metadata = file.metadata()
        return Best(int(metadata["step"]), float(metadata["value"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder.best} is damaged: {error}") from error


def require_scores(assembly: Assembly) -> None:
    """Ask, before anything is written, for the splits and the flow that the scores need.

    Raises:
        IncompatibleError: names the section, and what is missing.
    """
    wanted = [("scores", "evaluate.split", assembly.evaluate.split, score) for score in assembly.scores]
    validate = assembly.validate
    if validate.score is not None:
        wanted.append(("validate", "validate.split", validate.split, validate.score))
    if not wanted and not assembly.metrics:
        return
    free = [score for _, _, _, score in wanted if not score.of_data]
    if assembly.data is None and not assembly.metrics and len(free) == len(wanted) and validate.score is None:
        for score in free:
            score.require(assembly.flow)
        return
    data = assembly.require_data("metrics and scores judge against data")
    for section, key, split, score in wanted:
        try:
            if len(data.split(split)) == 0:
                raise DataError(f"split '{split}' is empty")
        except DataError as error:
            raise IncompatibleError(f"{section}: {error} ({key})") from error
        try:
            score.require(assembly.flow)
        except IncompatibleError as error:
            raise IncompatibleError(f"{section}: {error}") from error
