"""Perplexity under a small autoregressive judge."""

from __future__ import annotations

import math
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.geometry import Discrete
from flowloom.metrics import Metric
from flowloom.paths import MixturePath
from flowloom.sources import Mask
from flowloom.trained import Trained
from flowloom.training import AdamW, Cosine
from flowloom_registry.runs.progress import progress
from flowloom_sequences.metrics.ngram import fit_ngrams, ngrams, tokens_and_mask
from flowloom_sequences.models.causal import CausalTransformer
from flowloom_sequences.next_token import NextToken


def train_judge(data: Dataset, *, steps: int, batch: int, seed: int) -> Trained:
    """A causal transformer fitted to ``data``; same data and seed, same judge."""
    with torch.random.fork_rng(), torch.enable_grad(), progress("judge", steps, patience=5.0) as report:
        torch.manual_seed(seed)
        model = CausalTransformer(data.spec)
        tokens = Discrete(model.vocab)
        path = MixturePath(tokens)
        flow = Flow(model, spec=data.spec, source=Mask(tokens), path=path, objective=NextToken(path))
        flow.fit(
            data,
            seed=seed,
            steps=steps,
            batch=batch,
            lr=4e-3,
            optimizer=AdamW(betas=(0.9, 0.98), weight_decay=0.01),
            decay=Cosine(warmup=steps // 10),
            ema=0.0,
            prefetch="off",
            on_log=lambda line: report(int(line["step"]), {"loss": line["loss"]}),
        )
    return Trained(flow)


_JUDGES: WeakKeyDictionary[Dataset, dict[tuple[object, ...], Trained]] = WeakKeyDictionary()


class JudgePerplexity(Metric):
    """Perplexity of samples under a judge that never saw the training split.

    The judge is trained on the data set's split ``judge``. Beside the samples' perplexity stand those of the
    real examples and of a trigram model's samples, and the entropies of single tokens: a low perplexity alone
    may only mean that samples repeat themselves. A good model comes close to the real text from above.

    Args:
        kind: ``transformer``, or ``trigram`` for a judge of counts that needs no training.
        steps: of the judge's training.
        batch: sequences a step.
        rows: most sequences of either side that are scored.
        seed: of the judge.
        judge: a language model that was trained before, in a stage or another run (``{run: NAME}``) of
            objective ``next-token``; the others say how one is trained where none is given.
    """

    better: ClassVar = {"judge_perplexity": "lower"}

    def __init__(
        self,
        kind: Literal["transformer", "trigram"] = "transformer",
        steps: int = 400,
        batch: int = 32,
        rows: int = 512,
        seed: int = 0,
        judge: Trained | None = None,
    ) -> None:
        if judge is not None and judge.flow.objective.kind != "next-token":
            name = type(judge.flow.objective).__name__
            raise IncompatibleError(
                f"judge-perplexity asks a language model, and the run given has objective {name}; take one "
                "of model: causal-transformer and objective: next-token"
            )
        self.judge = judge
        if steps < 1 or batch < 1 or rows < 1:
            raise ValueError(f"steps, batch and rows must be at least 1, got {steps}, {batch}, {rows}")
        self.kind, self.steps, self.batch, self.rows, self.seed = kind, steps, batch, rows, seed
        self._train: Dataset | None = None
        self._vocab = 0

    def fit(self, train: Dataset) -> None:
        """Remember the data; the judge is trained on its split ``judge`` when it is first needed.

        Raises:
            DataError: the data set holds nothing out for judges.
        """
        if train.spec.vocab is None:
            raise IncompatibleError("judge-perplexity scores token ids, and this data is not made of tokens")
        try:
            if self.judge is None:
                train.split("judge")
        except DataError as error:
            raise DataError(f"judge-perplexity trains on the split 'judge': {error}") from error
        self._train, self._vocab = train, train.spec.vocab

    def judged(self, x: Tensor) -> Tensor:
        """Log probability of every token under the judge, ``(n, L)``."""
        if self._train is None:
            raise IncompatibleError("fit the judge first: metric.fit(train)")
        if self.judge is not None:
            return log_prob(self.judge, x)
        if self.kind == "trigram":
            return fit_ngrams(self._train.split("judge"), 3, self._vocab).log_prob(x)
        key = (self.steps, self.batch, self.seed)
        known = _JUDGES.setdefault(self._train, {})
        if key not in known:
            held = self._train.split("judge")
            known[key] = train_judge(held, steps=self.steps, batch=self.batch, seed=self.seed)
        return log_prob(known[key], x)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``judge_perplexity``, ``real_perplexity``, ``trigram_perplexity`` and entropies in nats."""
        self.require_rows(samples, real)
        x, x_mask = (v[samples.evenly(self.rows)] for v in tokens_and_mask(samples))
        y, y_mask = (v[real.evenly(self.rows)] for v in tokens_and_mask(real))
        values = {
            "judge_perplexity": self._perplexity(x, x_mask),
            "real_perplexity": self._perplexity(y, y_mask),
            "entropy": entropy(x, x_mask, self._vocab),
            "real_entropy": entropy(y, y_mask, self._vocab),
        }
        assert self._train is not None
        trigram = fit_ngrams(self._train, 3, self._vocab)
        z = trigram.sample(len(y), y.shape[1], torch.Generator().manual_seed(self.seed))
        values["trigram_perplexity"] = self._perplexity(z, y_mask)
        return values

    def _perplexity(self, x: Tensor, mask: Tensor) -> float:
        return math.exp(-float(self.judged(x)[mask].double().mean()))


@torch.no_grad()
def log_prob(judge: Trained, x: Tensor, batch: int = 256) -> Tensor:
    """Log probability of every token of ``(n, L)`` under a language model, on the CPU."""
    found = []
    for rows in x.to(judge.flow.device).split(batch):
        logits = judge(rows, torch.ones(len(rows), device=rows.device))
        assert isinstance(logits, Tensor)
        found.append(-F.cross_entropy(logits.transpose(1, 2), rows, reduction="none").cpu())
    return torch.cat(found)


def entropy(x: Tensor, mask: Tensor, vocab: int) -> float:
    """Entropy of single tokens in nats."""
    counts = torch.bincount(ngrams(x, mask, 1, vocab), minlength=vocab).double()
    p = counts[counts > 0] / counts.sum()
    return float(-(p * p.log()).sum())
