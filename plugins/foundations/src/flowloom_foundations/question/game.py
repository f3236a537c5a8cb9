"""Generation in the limit: an adversary shows strings of an unknown language, a learner says new ones.

Languages are infinite sets of whole numbers from 1, in a list that both know; which of them the adversary
shows is not told. After every string the learner says one that was not shown. It has *generated in the limit*
where all that it says from some step on is of the language. Saying which language it is (identification) is
impossible in general (Gold 1967; Angluin 1980); generating is always possible (Kleinberg and Mullainathan
2404.06757).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch

__all__ = ["CriticalLanguage", "FirstConsistent", "Game", "Learner", "Multiples", "lattice", "play"]


@dataclass(frozen=True)
class Multiples:
    """All multiples of a number from some point on.

    Args:
        of: the number.
        start: smallest member, at most ``of`` above it.
    """

    of: int
    start: int = 1

    def __contains__(self, string: int) -> bool:
        return string >= self.start and string % self.of == 0

    def __iter__(self) -> Iterator[int]:
        """Its strings, rising."""
        return count(-(-self.start // self.of) * self.of, self.of)


def lattice(steps: int = 8, tails: Sequence[int] = (1, 30, 60)) -> list[Multiples]:
    """Multiples of 1, 2, ..., and tails of each: the larger languages first, which hides the others."""
    return [Multiples(k, start) for k in range(1, steps + 1) for start in tails]


class Learner(ABC):
    """Says a string that was not shown; it may ask whether strings are in languages of the list.

    Args:
        languages: the list, from the first on.
    """

    def __init__(self, languages: Sequence[Multiples]) -> None:
        self.languages = languages

    @abstractmethod
    def say(self, shown: Sequence[int]) -> int:
        """A string, after those that were shown so far."""

    def consistent(self, shown: Sequence[int]) -> list[Multiples]:
        """Of the first languages, as many as strings were shown, those that hold all of them."""
        return [one for one in self.languages[: len(shown)] if all(string in one for string in shown)]


class FirstConsistent(Learner):
    """The first language that holds all that was shown, and its first string that was not: the greedy way.

    A language that holds the true one, and stands before it, is never refuted.
    """

    def say(self, shown: Sequence[int]) -> int:
        """See the class."""
        known = set(shown)
        language = next(iter(self.consistent(shown)), self.languages[0])
        return next(string for string in language if string not in known)


class CriticalLanguage(Learner):
    r"""The last *critical* language, and its first string that was not shown (2404.06757, section 5).

    Of the first n languages (n strings were shown), a consistent one is critical if it is a subset of every
    consistent one before it. From some step on the true language is critical, and what comes after it among
    the critical ones is a subset of it. Whether one is a subset of another is asked of the strings 1 to m
    alone; m grows until the last critical language has a string there that was not shown.
    """

    def say(self, shown: Sequence[int]) -> int:
        """See the class."""
        known, languages = set(shown), self.consistent(shown)
        if not languages:
            return max(known, default=0) + 1
        m = max(known)
        while True:
            m *= 2
            held = [{string for string in range(1, m + 1) if string in one} for one in languages]
            critical = [own for i, own in enumerate(held) if all(own <= earlier for earlier in held[:i])]
            fresh = critical[-1] - known
            if fresh:
                return min(fresh)


@dataclass(frozen=True)
class Game:
    """How a game went.

    Args:
        wrong: steps, counted from 1, at which what was said is not in the language, or was shown.
        steps: in all.
    """

    wrong: tuple[int, ...]
    steps: int

    @property
    def settled(self) -> int:
        """The last wrong step: from there on all is right; ``steps`` where the last one is wrong."""
        return self.wrong[-1] if self.wrong else 0


def play(learner: Learner, target: Multiples, steps: int = 300, seed: int = 0, late: int = 5) -> Game:
    """Show strings of ``target`` and ask after each.

    The adversary enumerates the language, which it must, but not in its order: each string is a random one of
    the ``late`` smallest that were not shown.

    Args:
        learner: who is asked; the target is not told to it.
        target: the language.
        steps: strings shown.
        seed: of the order.
        late: how many strings wait at a time.
    """
    draws = torch.Generator().manual_seed(seed)
    strings = iter(target)
    waiting = list(islice(strings, late))
    shown: list[int] = []
    wrong = []
    for step in range(1, steps + 1):
        # The smallest goes every second time, so that all are shown in the end.
        place = 0 if step % 2 else int(torch.randint(len(waiting), (1,), generator=draws))
        shown.append(waiting.pop(place))
        waiting.append(next(strings))
        said = learner.say(shown)
        if said not in target or said in shown:
            wrong.append(step)
    return Game(tuple(wrong), steps)
