"""Perplexity under a small autoregressive judge."""

from __future__ import annotations

import math
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.metrics import Metric
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom_registry.runs.progress import progress
from flowloom_sequences.metrics.ngram import fit_ngrams, ngrams, tokens_and_mask


class Judge(nn.Module):
    """A causal transformer: embedding, blocks that look back only, logits.

    Args:
        vocab: number of tokens.
        width: of the blocks.
        depth: number of blocks.
        heads: of the attention.
    """

    def __init__(self, vocab: int, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.vocab, self.size = vocab, width // heads
        self.embed = nn.Embedding(vocab + 1, width)
        self.blocks = nn.ModuleList(Block(width, heads, 0.0) for _ in range(depth))
        # The blocks read a context; for a judge it is one learned vector.
        self.context = nn.Parameter(torch.randn(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocab)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every token given those before it: ``(n, L)`` to ``(n, L, vocab)``."""
        start = torch.full_like(x[:, :1], self.vocab)
        hidden = self.embed(torch.cat([start, x[:, :-1]], 1))
        angles = rotary(x.shape[1], self.size, hidden)
        behind = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for block in self.blocks:
            hidden = block(hidden, self.context, angles, behind)
        return self.out(self.norm(hidden))

    @torch.no_grad()
    def log_prob(self, x: Tensor, batch: int = 256) -> Tensor:
        """Log probability of every token, ``(n, L)``."""
        parts = [
            -F.cross_entropy(self(rows).transpose(1, 2), rows, reduction="none") for rows in x.split(batch)
        ]
        return torch.cat(parts)


def train_judge(data: Dataset, vocab: int, *, steps: int, batch: int, seed: int) -> Judge:
    """A judge fitted to ``data``; same data and seed, same judge."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.enable_grad(), progress("judge", steps, patience=5.0) as report:
        torch.manual_seed(seed)
        judge = Judge(vocab)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
        for step in range(steps):
            rows = torch.randint(len(data), (batch,), generator=generator)
            x, mask = tokens_and_mask(data.take(rows).laid_out(data.spec))
            nats = F.cross_entropy(judge(x).transpose(1, 2), x, reduction="none")
            loss = nats[mask].mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            report(step + 1, {"loss": float(loss.detach())})
    return judge.eval()


_JUDGES: WeakKeyDictionary[Dataset, dict[tuple[object, ...], Judge]] = WeakKeyDictionary()


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
    """

    better: ClassVar = {"judge_perplexity": "lower"}

    def __init__(
        self,
        kind: Literal["transformer", "trigram"] = "transformer",
        steps: int = 400,
        batch: int = 32,
        rows: int = 512,
        seed: int = 0,
    ) -> None:
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
            train.split("judge")
        except DataError as error:
            raise DataError(f"judge-perplexity trains on the split 'judge': {error}") from error
        self._train, self._vocab = train, train.spec.vocab

    def judged(self, x: Tensor) -> Tensor:
        """Log probability of every token under the judge, ``(n, L)``."""
        if self._train is None:
            raise IncompatibleError("fit the judge first: metric.fit(train)")
        if self.kind == "trigram":
            return fit_ngrams(self._train.split("judge"), 3, self._vocab).log_prob(x)
        key = (self.steps, self.batch, self.seed)
        known = _JUDGES.setdefault(self._train, {})
        if key not in known:
            held = self._train.split("judge")
            known[key] = train_judge(held, self._vocab, steps=self.steps, batch=self.batch, seed=self.seed)
        return known[key].log_prob(x)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``judge_perplexity``, ``real_perplexity``, ``trigram_perplexity`` and entropies in nats."""
        self.require_rows(samples, real)
        x, x_mask = (v[: self.rows] for v in tokens_and_mask(samples))
        y, y_mask = (v[: self.rows] for v in tokens_and_mask(real))
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


def entropy(x: Tensor, mask: Tensor, vocab: int) -> float:
    """Entropy of single tokens in nats."""
    counts = torch.bincount(ngrams(x, mask, 1, vocab), minlength=vocab).double()
    p = counts[counts > 0] / counts.sum()
    return float(-(p * p.log()).sum())
