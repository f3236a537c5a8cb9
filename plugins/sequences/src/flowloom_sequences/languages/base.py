"""Languages whose law is known: they draw, score and judge strings exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_sequences.data.vocabulary import Characters, Vocabulary

SPLIT_SEEDS = {"train": 0, "val": 1_000_003, "test": 2_000_003, "judge": 3_000_017}
"""What every split of generated data adds to the seed."""


class Language(ABC):
    """A law on strings of one length, with every quantity that evaluation asks for.

    Attributes:
        vocab: number of tokens.
        length: of the strings.
        classes: number of classes of strings, 1 where there are none.
        letters: one character a token.
    """

    vocab: int
    length: int
    classes: int = 1
    letters: str

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Strings ``(n, length)`` and their classes ``(n,)``."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of strings ``(n, length)`` in nats, ``(n,)``; -inf for impossible ones."""

    @abstractmethod
    def entropy(self) -> float:
        """Entropy of a string in nats: the mean of ``-log_prob`` under the law."""

    def valid(self, x: Tensor) -> Tensor:
        """Which strings are possible, boolean ``(n,)``."""
        return self.log_prob(x) > -torch.inf


class LanguageData(Dataset):
    """Draws of a language; every split is an independent draw of its own.

    Args:
        language: the law.
        n: number of strings in a split.
        seed: of the draws.
    """

    def __init__(self, language: Language, n: int, seed: int) -> None:
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}")
        self.language, self.n, self.seed = language, n, seed
        self.vocabulary: Vocabulary = Characters(language.letters)
        self._drawn: tuple[Tensor, Tensor] | None = None

    @property
    def spec(self) -> Spec:
        """Token ids ``(length,)``, with ``label`` where the language has classes."""
        law = self.language
        conditions = {"label": Condition(law.classes)} if law.classes > 1 else {}
        return Spec(
            shape=(law.length,), vocab=law.vocab, conditions=conditions, tokens=self.vocabulary.tokens
        )

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """Strings ``(n, length)``, int64, and their ``label`` where there are classes."""
        if self._drawn is None:
            self._drawn = self.language.draw(self.n, torch.Generator().manual_seed(self.seed))
        x, label = self._drawn
        return Examples(x[rows], {"label": label[rows]} if self.language.classes > 1 else {})

    def split(self, name: str) -> Dataset:
        """``train`` (itself), ``val``, ``test`` or ``judge``: independent draws.

        Raises:
            DataError: there is no such split.
        """
        if name not in SPLIT_SEEDS:
            raise DataError(f"{type(self).__name__} has no split '{name}'; it has: {', '.join(SPLIT_SEEDS)}")
        if name == "train":
            return self
        return LanguageData(self.language, self.n, self.seed + SPLIT_SEEDS[name])


def letters_of(vocab: int) -> str:
    """One printable character for each of ``vocab`` tokens."""
    if vocab <= 26:
        return "abcdefghijklmnopqrstuvwxyz"[:vocab]
    if vocab > 200:
        raise DataError(f"toy languages have at most 200 tokens, got {vocab}")
    return "".join(map(chr, range(0x100, 0x100 + vocab)))


def dirichlet(concentration: float, shape: tuple[int, ...], seed: int) -> Tensor:
    """Probabilities drawn from a symmetric Dirichlet law in float64; the last dimension sums to 1."""
    generator = torch.Generator().manual_seed(seed)
    gamma = torch._standard_gamma(
        torch.full(shape, concentration, dtype=torch.float64), generator=generator
    ).clamp_min(1e-30)
    return gamma / gamma.sum(-1, keepdim=True)


def choose(p: Tensor, generator: torch.Generator) -> Tensor:
    """One index from each row of probabilities ``(n, k)``: ``(n,)``."""
    edges = p.cumsum(-1)
    height = torch.rand((len(p), 1), generator=generator, dtype=p.dtype) * edges[:, -1:]
    return torch.searchsorted(edges, height, right=True)[:, 0].clamp(max=p.shape[1] - 1)
