"""Balanced brackets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom_sequences.languages.base import Language, LanguageData

_PAIRS = ("()", "[]", "{}", "<>")


class DyckLanguage(Language):
    """All balanced strings of one length, each as likely as any other.

    Args:
        kinds: number of kinds of brackets, at most 4.
        length: of the strings, even.
        depth: most brackets open at once.
    """

    def __init__(self, kinds: int, length: int, depth: int) -> None:
        if not 1 <= kinds <= len(_PAIRS) or length < 2 or length % 2 or depth < 1:
            raise DataError(
                f"need 1 to 4 kinds, an even length and depth >= 1; got {kinds}, {length}, {depth}"
            )
        self.kinds, self.length, self.depth = kinds, length, depth
        self.vocab, self.letters = 2 * kinds, "".join(_PAIRS[:kinds])
        # ways[r][d]: how many strings of r more tokens close everything from depth d.
        ways = [[1] + [0] * depth]
        for _ in range(length):
            last = ways[-1]
            ways.append(
                [
                    (kinds * last[d + 1] if d < depth else 0) + (last[d - 1] if d else 0)
                    for d in range(depth + 1)
                ]
            )
        self.count = ways[length][0]
        if not self.count:
            raise DataError(f"no balanced string has length {length} and depth {depth}")
        # Share of the completions that begin by opening, exact in whole numbers before it is a float.
        self._open = torch.tensor(
            [
                [(kinds * ways[r - 1][d + 1] / ways[r][d] if d < depth and ways[r][d] else 0.0)
                 for d in range(depth + 1)]
                for r in range(1, length + 1)
            ],
            dtype=torch.float64,
        )  # fmt: skip

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Uniform draws, all of class 0."""
        x = torch.empty(n, self.length, dtype=torch.long)
        stack = torch.zeros(n, self.depth + 1, dtype=torch.long)
        depth = torch.zeros(n, dtype=torch.long)
        rows = torch.arange(n)
        for i in range(self.length):
            p = self._open[self.length - i - 1, depth]
            opening = torch.rand(n, generator=generator, dtype=torch.float64) < p
            kind = torch.randint(self.kinds, (n,), generator=generator)
            top = stack[rows, (depth - 1).clamp_min(0)]
            x[:, i] = torch.where(opening, 2 * kind, 2 * top + 1)
            stack[rows[opening], depth[opening]] = kind[opening]
            depth = depth + torch.where(opening, 1, -1)
        return x, torch.zeros(n, dtype=torch.long)

    def valid(self, x: Tensor) -> Tensor:
        """Which strings are balanced and not too deep."""
        n, good = len(x), torch.ones(len(x), dtype=torch.bool)
        stack = torch.zeros(n, self.depth + 1, dtype=torch.long)
        depth = torch.zeros(n, dtype=torch.long)
        rows = torch.arange(n)
        for i in range(x.shape[1]):
            kind, closing = x[:, i] // 2, x[:, i] % 2 == 1
            top = stack[rows, (depth - 1).clamp_min(0)]
            good &= torch.where(closing, (depth > 0) & (top == kind), depth < self.depth)
            stack[rows, depth.clamp(max=self.depth)] = kind
            depth = (depth + torch.where(closing, -1, 1)).clamp(0, self.depth)
        return good & (depth == 0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Minus the log of the number of balanced strings."""
        return torch.where(self.valid(x), -self.entropy(), -torch.inf).double()

    def entropy(self) -> float:
        """Log of the number of balanced strings."""
        return math.log(self.count)


class Dyck(LanguageData):
    """Balanced brackets, uniform over all strings of the length: validity is exact.

    Args:
        kinds: number of kinds of brackets.
        length: of the strings, even.
        depth: most brackets open at once.
        n: strings in a split.
        seed: of the draws.
    """

    def __init__(
        self, kinds: int = 2, length: int = 24, depth: int = 6, n: int = 20_000, seed: int = 0
    ) -> None:
        super().__init__(DyckLanguage(kinds, length, depth), n, seed)
