"""Metrics that ask a toy language itself."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_sequences.languages.base import Language
from flowloom_sequences.languages.motifs import PlantedMotifs
from flowloom_sequences.metrics.judge import entropy
from flowloom_sequences.metrics.ngram import tokens_and_mask


class _Asks(Metric):
    language: Language

    def fit(self, train: Dataset) -> None:
        """Take the language from its data set.

        Raises:
            IncompatibleError: the data has no known law.
        """
        language = getattr(train, "language", None)
        if not isinstance(language, Language):
            raise IncompatibleError(
                f"{type(self).__name__} asks a toy language for its law; {type(train).__name__} has none: "
                "use data: markov, dyck, motif-dna or independent-tokens, or metric: judge-perplexity"
            )
        self.language = language


class LanguageGap(_Asks):
    """How much less likely samples are under the true law than its own strings: nats a token.

    ``language_gap`` is the mean of ``-log p(x)`` less the exact entropy, per token: 0 for the law itself,
    positive for errors, negative for samples that keep to its likeliest strings. Unlikely tokens count at
    most ``cap`` nats a string and token, so that impossible strings leave a number. ``entropy_drop`` is the
    share of the single-token entropy that samples lack.

    Args:
        cap: most nats a token.
    """

    better: ClassVar = {"language_gap": "lower"}

    def __init__(self, cap: float = 20.0) -> None:
        if cap <= 0:
            raise ValueError(f"cap must be positive, got {cap}")
        self.cap = cap

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``language_gap``, ``language_nll``, ``language_entropy`` (nats a token) and ``entropy_drop``."""
        self.require_rows(samples, real)
        x, mask = tokens_and_mask(samples)
        y, y_mask = tokens_and_mask(real)
        law = self.language
        nll = float((-law.log_prob(x) / law.length).clamp(max=self.cap).mean())
        truth = law.entropy() / law.length
        spread, wanted = entropy(x, mask, law.vocab), entropy(y, y_mask, law.vocab)
        return {
            "language_gap": nll - truth,
            "language_nll": nll,
            "language_entropy": truth,
            "entropy_drop": 1 - spread / wanted if wanted else 0.0,
        }


class Validity(_Asks):
    """Shares of samples that the grammar allows, and of different ones among those."""

    better: ClassVar = {"validity": "higher", "unique": "higher"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``validity`` and ``unique``."""
        self.require_rows(samples, samples)
        x, _ = tokens_and_mask(samples)
        good = x[self.language.valid(x)]
        return {
            "validity": len(good) / len(x),
            "unique": len(good.unique(dim=0)) / len(good) if len(good) else 0.0,
        }


class MotifRecovery(_Asks):
    """Whether guided DNA carries the motif of the class that was asked for.

    ``class_accuracy``: share of samples whose most probable class under the exact law is the wanted one;
    ``consensus``: share that hold the class's motif letter by letter; the same of the real examples beside.
    """

    better: ClassVar = {"class_accuracy": "higher", "consensus": "higher"}

    def fit(self, train: Dataset) -> None:
        """Take the motifs from their data set."""
        super().fit(train)
        if not isinstance(self.language, PlantedMotifs):
            raise IncompatibleError("motif-recovery is for data: motif-dna")

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``class_accuracy``, ``consensus`` and ``real_``... of both."""
        self.require_rows(samples, real)
        values = self._of(samples)
        return values | {f"real_{name}": value for name, value in self._of(real).items()}

    def _of(self, examples: Examples) -> dict[str, float]:
        law = self.language
        assert isinstance(law, PlantedMotifs)
        x, _ = tokens_and_mask(examples)
        label = examples.cond.get("label")
        if label is None:
            raise IncompatibleError("motif-recovery needs to know which class each sample was asked for")
        wanted: Tensor = label.cpu()
        accuracy = (law.class_log_prob(x).argmax(1) == wanted).double().mean()
        windows = x.unfold(1, law.width, 1)
        holds = (windows == law.motifs[wanted][:, None]).all(2).any(1)
        return {"class_accuracy": float(accuracy), "consensus": float(holds.double().mean())}


class TokenKL(_Asks):
    """Mean KL divergence of every position's token frequencies to the true ones: the Dirichlet paper's toy.

    Meaningful for ``independent-tokens``, whose law is a table; ``kl_floor`` is the value of as many real
    examples.

    Args:
        law: data whose law is asked, where those that are trained on have none (a teacher's samples, say).
    """

    better: ClassVar = {"token_kl": "lower"}

    def __init__(self, law: Dataset | None = None) -> None:
        self.law = law

    def fit(self, train: Dataset) -> None:
        """Take the law from the data."""
        super().fit(train if self.law is None else self.law)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``token_kl`` and ``kl_floor``, nats a position."""
        self.require_rows(samples, real)
        table = getattr(self.language, "table", None)
        x, _ = tokens_and_mask(samples)
        y, _ = tokens_and_mask(real)
        if table is None or table.shape != (x.shape[1], self.language.vocab):
            raise IncompatibleError("token-kl is for data: independent-tokens")
        return {"token_kl": token_kl(x, table), "kl_floor": token_kl(y, table)}


def token_kl(x: Tensor, table: Tensor) -> float:
    """Mean over positions of ``KL(frequencies of x || table)``; ``x`` is ``(n, L)``, ``table`` ``(L, K)``."""
    counts = torch.zeros(table.shape, dtype=torch.float64)
    counts.index_put_((torch.arange(x.shape[1]).expand_as(x), x), torch.ones((), dtype=torch.float64), True)
    q = counts / len(x)
    return float(torch.where(q > 0, q * (q.clamp_min(1e-300) / table).log(), 0).sum(1).mean())
