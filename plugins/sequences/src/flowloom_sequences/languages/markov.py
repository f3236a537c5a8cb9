"""Markov chains of any order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom_sequences.languages.base import Language, LanguageData, choose, dirichlet, letters_of


class MarkovChain(Language):
    """A chain whose next token depends on the last ``order``; the first ``order`` tokens are uniform.

    Args:
        vocab: number of tokens.
        order: tokens remembered; 0 makes them independent.
        length: of the strings.
        concentration: of the Dirichlet law from which every context's row is drawn; small is predictable.
        seed: of the table.
    """

    def __init__(self, vocab: int, order: int, length: int, concentration: float, seed: int) -> None:
        if vocab < 2 or order < 0 or length <= order:
            raise DataError(f"need vocab >= 2, order >= 0 and length > order; got {vocab}, {order}, {length}")
        if vocab ** (order + 1) > 10_000_000:
            raise DataError(f"a table of {vocab}^{order + 1} probabilities is too large")
        self.vocab, self.order, self.length, self.letters = vocab, order, length, letters_of(vocab)
        self.table = dirichlet(concentration, (vocab**order, vocab), seed)

    def _contexts(self, x: Tensor) -> Tensor:
        """Number of the context before every token from ``order`` on: ``(n, length - order)``."""
        code = torch.zeros(len(x), x.shape[1] - self.order, dtype=torch.long)
        for k in range(self.order):
            code = code * self.vocab + x[:, k : x.shape[1] - self.order + k]
        return code

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Strings, all of class 0."""
        x = torch.randint(self.vocab, (n, self.length), generator=generator)
        for i in range(self.order, self.length):
            code = torch.zeros(n, dtype=torch.long)
            for k in range(self.order):
                code = code * self.vocab + x[:, i - self.order + k]
            x[:, i] = choose(self.table[code], generator)
        return x, torch.zeros(n, dtype=torch.long)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of log transition probabilities."""
        steps = self.table[self._contexts(x), x[:, self.order :]].log().sum(1)
        return steps - self.order * math.log(self.vocab)

    def entropy(self) -> float:
        """Exact: the law of the context is carried along the string."""
        rows = -(self.table * self.table.clamp_min(1e-300).log()).sum(1)
        law = torch.full((self.vocab**self.order,), 1.0 / self.vocab**self.order, dtype=torch.float64)
        total = self.order * math.log(self.vocab)
        for _ in range(self.length - self.order):
            total += float(law @ rows)
            if self.order:
                # The oldest token leaves the context and the new one enters it.
                joint = (law[:, None] * self.table).reshape(self.vocab, -1)
                law = joint.sum(0)
        return total


class Markov(LanguageData):
    """Strings of a Markov chain with a random table: entropy and likelihood are exact.

    Args:
        vocab: number of tokens.
        order: tokens remembered.
        length: of the strings.
        concentration: of the Dirichlet law of every row of the table.
        n: strings in a split.
        seed: of the draws.
        language_seed: of the table.
    """

    def __init__(
        self,
        vocab: int = 12,
        order: int = 2,
        length: int = 32,
        concentration: float = 0.1,
        n: int = 20_000,
        seed: int = 0,
        language_seed: int = 0,
    ) -> None:
        super().__init__(MarkovChain(vocab, order, length, concentration, language_seed), n, seed)


class Independent(LanguageData):
    """Independent tokens, each position with a random law of its own: the toy of the Dirichlet paper.

    Args:
        vocab: number of tokens, the K of 2402.05841 (figure 4).
        length: of the strings.
        n: strings in a split.
        seed: of the draws.
        language_seed: of the laws.
    """

    def __init__(
        self, vocab: int = 20, length: int = 4, n: int = 100_000, seed: int = 0, language_seed: int = 0
    ) -> None:
        super().__init__(IndependentTokens(vocab, length, language_seed), n, seed)


class IndependentTokens(Language):
    """A product of categorical laws drawn from Dirichlet(1).

    Args:
        vocab: number of tokens.
        length: of the strings.
        seed: of the laws.
    """

    def __init__(self, vocab: int, length: int, seed: int) -> None:
        if vocab < 2 or length < 1:
            raise DataError(f"need vocab >= 2 and length >= 1; got {vocab} and {length}")
        self.vocab, self.length, self.letters = vocab, length, letters_of(vocab)
        self.table = dirichlet(1.0, (length, vocab), seed)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Strings, all of class 0."""
        columns = [choose(row.expand(n, -1), generator) for row in self.table]
        return torch.stack(columns, 1), torch.zeros(n, dtype=torch.long)

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum of log probabilities."""
        return self.table[torch.arange(self.length), x].log().sum(1)

    def entropy(self) -> float:
        """Sum of the positions' entropies."""
        return float(-(self.table * self.table.log()).sum())
