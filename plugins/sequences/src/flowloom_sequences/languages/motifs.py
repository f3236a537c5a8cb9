"""DNA with a planted motif for each class."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom_sequences.data.vocabulary import DNA
from flowloom_sequences.languages.base import Language, LanguageData, choose


class PlantedMotifs(Language):
    """Background letters with one noisy copy of the class's motif at a uniform place.

    Class c has a motif of its own: letter j of its copy is ``motif[c, j]`` with probability ``purity`` and
    any other letter alike. Classes are equally likely. Likelihoods sum over class and place exactly.

    Args:
        classes: number of classes.
        motif: length of the motifs.
        length: of the strings.
        purity: probability of the motif's letter.
        background: probabilities of A, C, G, T elsewhere.
        seed: of the motifs.
    """

    vocab = 4
    letters = DNA

    def __init__(
        self,
        classes: int,
        motif: int,
        length: int,
        purity: float,
        background: tuple[float, float, float, float],
        seed: int,
    ) -> None:
        if classes < 1 or not 1 <= motif <= length:
            raise DataError(f"need classes >= 1 and 1 <= motif <= length; got {classes}, {motif}, {length}")
        if not 0.25 < purity <= 1:
            raise DataError(f"purity must lie in (0.25, 1], got {purity}")
        if abs(sum(background) - 1) > 1e-6 or min(background) <= 0:
            raise DataError(f"background must be four positive probabilities that sum to 1, got {background}")
        self.classes, self.width, self.length = classes, motif, length
        self.background = torch.tensor(background, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        self.motifs = torch.randint(4, (classes, motif), generator=generator)
        off = torch.full((classes, motif, 4), (1 - purity) / 3, dtype=torch.float64)
        self.profiles = off.scatter(2, self.motifs[..., None], purity)
        """Probabilities of the letters of a motif, ``(classes, motif, 4)``."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Strings and their classes."""
        x = choose(self.background.expand(n * self.length, -1), generator).reshape(n, self.length)
        label = torch.randint(self.classes, (n,), generator=generator)
        place = torch.randint(self.length - self.width + 1, (n,), generator=generator)
        copy = choose(self.profiles[label].reshape(-1, 4), generator).reshape(n, self.width)
        return x.scatter(1, place[:, None] + torch.arange(self.width), copy), label

    def class_log_prob(self, x: Tensor) -> Tensor:
        """Log probability of strings given each class, ``(n, classes)``."""
        base = self.background.log()[x].sum(1)
        gain = (self.profiles / self.background).log()
        windows = x.unfold(1, self.width, 1)
        position = torch.arange(self.width)
        scores = torch.stack([g[position, windows].sum(2).logsumexp(1) for g in gain], 1)
        places = torch.tensor(float(self.length - self.width + 1), dtype=torch.float64)
        return base[:, None] + scores - places.log()

    def log_prob(self, x: Tensor) -> Tensor:
        """Sum over classes and places."""
        return self.class_log_prob(x).logsumexp(1) - torch.tensor(float(self.classes)).log()

    @functools.cached_property
    def _entropy(self) -> float:
        draws, _ = self.draw(200_000, torch.Generator().manual_seed(0))
        return float(-torch.cat([self.log_prob(rows) for rows in draws.split(20_000)]).mean())

    def entropy(self) -> float:
        """Mean of ``-log_prob`` over 200,000 draws (standard error below 0.1 %)."""
        return self._entropy


class MotifDNA(LanguageData):
    """DNA whose class shows in a planted motif: guided generation can be scored exactly.

    Args:
        classes: number of classes, each with a motif.
        motif: length of the motifs.
        length: of the strings.
        purity: probability of the motif's letter at each of its positions.
        background: probabilities of A, C, G, T elsewhere.
        n: strings in a split.
        seed: of the draws.
        language_seed: of the motifs.
    """

    def __init__(
        self,
        classes: int = 2,
        motif: int = 8,
        length: int = 48,
        purity: float = 0.85,
        background: tuple[float, float, float, float] = (0.3, 0.2, 0.2, 0.3),
        n: int = 20_000,
        seed: int = 0,
        language_seed: int = 0,
    ) -> None:
        super().__init__(PlantedMotifs(classes, motif, length, purity, background, language_seed), n, seed)
