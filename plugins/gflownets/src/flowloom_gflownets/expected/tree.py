"""A tree in which every choice has a random outcome."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flowloom.energies import Energy, require_energy
from flowloom.spec import Spec
from flowloom.state import Cond, State
from flowloom_gflownets.environment import Chance, TokenEnvironment


class RandomLeaves(Energy):
    r"""Minus log of log-normal rewards, one for every sequence of tokens: :math:`E(x) = -s\, z_x`, z normal.

    Args:
        length: of the sequences.
        vocab: tokens.
        spread: s.
        seed: of the table.
    """

    def __init__(self, length: int = 8, vocab: int = 4, spread: float = 1.0, seed: int = 0) -> None:
        if length < 1 or vocab < 2 or vocab**length > 2**24:
            raise ValueError(f"random leaves are a table of at most 2^24 sequences, got {vocab}^{length}")
        self.spec, self.base = Spec((length,), vocab=vocab), vocab
        draws = torch.Generator().manual_seed(seed)
        self.table = -spread * torch.randn(vocab**length, generator=draws, device="cpu")

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Of token ids ``(n, length)``: ``(n,)``."""
        assert isinstance(x, Tensor)
        return self.table.to(x.device)[number_of(x, self.base)]


class ChanceTree(TokenEnvironment):
    """``rounds`` times the agent chooses one of ``choices``, and chance an outcome: mostly the one chosen.

    A state is all that has happened, ``(n, 2 rounds)``: choice and outcome in turn from 1, 0 for not yet.

    Args:
        energy: minus log R of whole sequences.
        rounds: choices in a walk.
        choices: and outcomes of each.
        error: probability of another outcome than the one chosen, spread evenly.
    """

    def __init__(self, energy: Energy, rounds: int = 4, choices: int = 3, error: float = 0.1) -> None:
        if rounds < 1 or choices < 2 or not 0 <= error < 1:
            raise ValueError(
                f"a tree has rounds from 1, choices from 2 and an error in [0, 1), got {rounds}, {choices} "
                f"and {error}"
            )
        self.reward, self.rounds, self.choices, self.error = energy, rounds, choices, error
        self.actions, self.spec = choices + 1, Spec((2 * rounds,), vocab=choices + 1)
        require_energy(energy, self.spec, "environment chance-tree")

    def root(self, n: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Tensor:
        """Nothing yet."""
        return torch.zeros(n, 2 * self.rounds, dtype=torch.int64, device=device)

    def allowed(self, x: Tensor) -> Tensor:
        """Every choice and outcome, until all rounds are over."""
        over = (x > 0).all(1, keepdim=True)
        return torch.cat([(~over).expand(-1, self.choices), over], 1)

    def parents(self, x: Tensor) -> Tensor:
        """The last thing that happened."""
        last = x.gather(1, ((x > 0).sum(1, keepdim=True) - 1).clamp_min(0))[:, 0]
        return one_hot(last, self.actions)[:, 1:] > 0

    def step(self, x: Tensor, action: Tensor) -> Tensor:
        """One more thing."""
        happens = (action < self.stop)[:, None]
        place = one_hot((x > 0).sum(1).clamp_max(x.shape[1] - 1), x.shape[1])
        return torch.where(happens, x + place * (action + 1)[:, None], x)

    def back(self, x: Tensor, action: Tensor) -> Tensor:
        """One less."""
        return x * (torch.arange(x.shape[1], device=x.device) < (x > 0).sum(1, keepdim=True) - 1)

    def features(self, x: Tensor) -> Tensor:
        """One-hot tokens."""
        return one_hot(x, self.actions).flatten(1).float()

    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        """That of the leaf."""
        return self.reward(x, cond)

    def chance(self, x: Tensor) -> Chance:
        """Chance moves after every choice: the one made with probability ``1 - error``."""
        count = (x > 0).sum(1)
        made = x.gather(1, (count - 1).clamp_min(0)[:, None])[:, 0]
        law = torch.full((len(x), self.actions), self.error / (self.choices - 1), device=x.device)
        law = torch.where(one_hot(made, self.actions).roll(-1, 1) > 0, 1 - self.error, law)
        law[:, self.stop] = 0
        return Chance(count % 2 == 1, law.log())

    def states(self) -> Tensor:
        """All beginnings, shorter ones first.

        Raises:
            NotImplementedError: there are more than 2^20.
        """
        if self.choices ** (2 * self.rounds) > 2**20:
            raise NotImplementedError(f"a tree of {self.rounds} rounds has too many states to enumerate")
        return self._states

    def index(self, x: Tensor) -> Tensor:
        """By their number in base ``choices + 1``."""
        return self._places.to(x.device)[number_of(x, self.actions)]

    @functools.cached_property
    def _states(self) -> Tensor:
        found = [self.root(1)]
        for _ in range(2 * self.rounds):
            x = found[-1].repeat_interleave(self.choices, 0)
            found.append(self.step(x, torch.arange(self.choices).repeat(len(found[-1]))))
        return torch.cat(found)

    @functools.cached_property
    def _places(self) -> Tensor:
        places = torch.zeros(self.actions ** (2 * self.rounds), dtype=torch.int64)
        places[number_of(self._states, self.actions)] = torch.arange(len(self._states))
        return places


def number_of(x: Tensor, base: int) -> Tensor:
    """Rows of digits as numbers, int64 ``(n,)``."""
    return (x * base ** torch.arange(x.shape[1] - 1, -1, -1, device=x.device)).sum(1)
