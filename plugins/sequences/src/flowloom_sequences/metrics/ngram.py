"""N-gram statistics and interpolated n-gram models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import ShapeError
from flowloom.metrics import Metric


def tokens_and_mask(examples: Examples) -> tuple[Tensor, Tensor]:
    """Token ids ``(n, L)`` on the CPU and which of them are real.

    Raises:
        ShapeError: the states are not token ids (decode them first).
    """
    x = examples.x
    if not isinstance(x, Tensor) or x.is_floating_point() or x.ndim != 2:
        raise ShapeError("this metric compares sequences of token ids (n, L); decode the states first")
    real = None if examples.layout is None else examples.layout.real
    return x.cpu(), torch.ones_like(x, dtype=torch.bool).cpu() if real is None else real.cpu()


def ngrams(x: Tensor, mask: Tensor, order: int, vocab: int) -> Tensor:
    """Code of every n-gram of real tokens, ``(count,)``; codes are below ``vocab ** order``."""
    if x.shape[1] < order:
        return torch.zeros(0, dtype=torch.long)
    code = torch.zeros(len(x), x.shape[1] - order + 1, dtype=torch.long)
    real = torch.ones_like(code, dtype=torch.bool)
    for k in range(order):
        code = code * vocab + x[:, k : x.shape[1] - order + 1 + k]
        real &= mask[:, k : x.shape[1] - order + 1 + k]
    return code[real]


def jensen_shannon(a: Tensor, b: Tensor) -> float:
    """Jensen-Shannon distance (root of the divergence in bits, in [0, 1]) of two bags of codes."""
    if len(a) == 0 or len(b) == 0:
        return 1.0
    _, where = torch.cat([a, b]).unique(return_inverse=True)
    size = int(where.max()) + 1
    p = torch.bincount(where[: len(a)], minlength=size).double() / len(a)
    q = torch.bincount(where[len(a) :], minlength=size).double() / len(b)
    m = (p + q) / 2

    def half(r: Tensor) -> float:
        kept = r > 0
        return float((r[kept] * (r[kept] / m[kept]).log2()).sum())

    return math.sqrt(max(0.0, (half(p) + half(q)) / 2))


class NGramDistance(Metric):
    """Jensen-Shannon distance of n-gram (k-mer) counts to the real ones.

    Sparse n-grams of two finite samples differ even under one law: compare with ``real_js_n``, the distance
    of two halves of the real examples, each half as many.

    Args:
        orders: lengths of the n-grams.
    """

    better: ClassVar = {f"js_{n}": "lower" for n in range(1, 9)}

    def __init__(self, orders: Sequence[int] = (1, 2, 3)) -> None:
        if not orders or min(orders) < 1 or max(orders) > 8:
            raise ValueError(f"orders are lengths from 1 to 8, got {list(orders)}")
        self.orders = tuple(orders)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``js_n`` for every order, with ``real_js_n`` beside it."""
        self.require_rows(samples, real)
        x, x_mask = tokens_and_mask(samples)
        y, y_mask = tokens_and_mask(real)
        vocab = int(max(x.max(), y.max())) + 1
        values = {}
        for n in self.orders:
            values[f"js_{n}"] = jensen_shannon(ngrams(x, x_mask, n, vocab), ngrams(y, y_mask, n, vocab))
            if len(y) > 1:
                # Every second row: the first half of rows sorted by class is of other classes than the rest.
                values[f"real_js_{n}"] = jensen_shannon(
                    *(ngrams(y[half::2], y_mask[half::2], n, vocab) for half in (0, 1))
                )
        return values


class NGramModel:
    """An n-gram model with Witten-Bell interpolation: the classical baseline, and a judge at no cost.

    ``p_n(y | c) = (count(c y) + T(c) p_{n-1}(y | c')) / (count(c) + T(c))`` with T(c) the number of different
    tokens seen after c, down to the uniform law.

    Args:
        order: tokens of an n-gram; 3 is a trigram model.
        vocab: number of tokens.
    """

    def __init__(self, order: int, vocab: int) -> None:
        if order < 1 or (vocab + 1) ** order > 2**62:
            raise ValueError(
                f"order must be at least 1 and (vocab + 1)^order fit 63 bits, got {order}, {vocab}"
            )
        self.order, self.vocab = order, vocab
        self._codes: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._contexts: list[Tensor] = []
        self._totals: list[Tensor] = []
        self._kinds: list[Tensor] = []

    def fit(self, x: Tensor, mask: Tensor) -> NGramModel:
        """Count the n-grams of sequences ``(n, L)``; what comes before a sequence is a padding token."""
        for n in range(1, self.order + 1):
            codes, counts = self._all(x, n)[mask].unique(return_counts=True)
            contexts, where = (codes // self.vocab1).unique(return_inverse=True)
            totals = torch.zeros(len(contexts), dtype=torch.long).index_add_(0, where, counts)
            kinds = torch.bincount(where)
            self._codes.append(codes)
            self._counts.append(counts)
            self._contexts.append(contexts)
            self._totals.append(totals)
            self._kinds.append(kinds)
        return self

    @property
    def vocab1(self) -> int:
        """Base of the codes: the tokens and the padding before a sequence."""
        return self.vocab + 1

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of every token given those before it, ``(n, L)``, float64."""
        p = torch.full(x.shape, 1.0 / self.vocab, dtype=torch.float64)
        for n in range(1, self.order + 1):
            p = self._mixed(n, self._all(x, n), p)
        return p.log()

    def sample(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """Sequences ``(n, length)`` drawn token by token."""
        x = torch.zeros(n, length, dtype=torch.long)
        every = torch.arange(self.vocab)
        for i in range(length):
            p = torch.full((n, self.vocab), 1.0 / self.vocab, dtype=torch.float64)
            for k in range(1, self.order + 1):
                context = torch.zeros(n, dtype=torch.long)
                for j in range(i - k + 1, i):
                    context = context * self.vocab1 + (x[:, j] if j >= 0 else self.vocab)
                p = self._mixed(k, context[:, None] * self.vocab1 + every, p)
            x[:, i] = torch.multinomial(p, 1, generator=generator)[:, 0]
        return x

    def _mixed(self, n: int, codes: Tensor, lower: Tensor) -> Tensor:
        count = _look_up(self._codes[n - 1], self._counts[n - 1], codes)
        context = codes // self.vocab1
        total = _look_up(self._contexts[n - 1], self._totals[n - 1], context)
        kinds = _look_up(self._contexts[n - 1], self._kinds[n - 1], context)
        weight = (total + kinds).clamp_min(1)
        return torch.where(total > 0, (count + kinds * lower) / weight, lower)

    def _all(self, x: Tensor, n: int) -> Tensor:
        """Code of the n-gram that ends at every token, ``(rows, L)``."""
        before = torch.full((len(x), n - 1), self.vocab, dtype=torch.long)
        padded = torch.cat([before, x], 1)
        code = torch.zeros_like(x)
        for k in range(n):
            code = code * self.vocab1 + padded[:, k : k + x.shape[1]]
        return code


def _look_up(keys: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, values[at], 0)


def fit_ngrams(data: Dataset, order: int, vocab: int, rows: int = 20_000) -> NGramModel:
    """An n-gram model of (evenly chosen) rows of a data set."""
    chosen = torch.linspace(0, len(data) - 1, min(rows, len(data))).round().long()
    return NGramModel(order, vocab).fit(*tokens_and_mask(data.take(chosen).laid_out(data.spec)))
