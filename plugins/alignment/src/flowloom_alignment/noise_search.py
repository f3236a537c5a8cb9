"""Noise that promises a high reward, found before anybody walks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.state import expand

__all__ = ["NoiseSearch"]


@dataclass(frozen=True)
class NoiseSearch:
    r"""Cross-entropy search for the noise of one step (Smart-GRPO, 2510.02654).

    From :math:`\mu = 0, \sigma = 1`: draw candidates :math:`\epsilon_i = \mu + \sigma n_i`, perturb the
    state, decode it in one step, :math:`\hat x_1 = z_i + (1 - t)\, v(z_i, t)`, ask for its reward, and set
    :math:`\mu, \sigma` to the mean and deviation of the best. The walks of the group are then driven by
    :math:`\mu + \text{spread}\,\sigma\,n`. The policy's own density is not changed.

    At the source a network that pairs noise and data at random decodes every noise to the mean of the data,
    so a search there tells nothing (``after: 0``). After a step it does, the more the later.

    Args:
        rounds: of the search.
        candidates: a round; each costs a call of the network and of the reward.
        elites: the best, of which the next round is made.
        after: the step whose noise is searched, counted from 1; 0 searches for x0 itself.
        spread: 0 drives the group by the mean alone, as in the paper.
        floor: of sigma.

    Raises:
        ValueError: an argument is out of range.
    """

    rounds: int = 3
    candidates: int = 16
    elites: int = 4
    after: int = 5
    spread: float = 0.0
    floor: float = 0.1

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 1 <= self.elites <= self.candidates or self.after < 0:
            raise ValueError(
                "a search has rounds from 1, 1 <= elites <= candidates and after from 0; got rounds="
                f"{self.rounds}, elites={self.elites}, candidates={self.candidates}, after={self.after}"
            )
        if self.spread < 0 or self.floor <= 0:
            raise ValueError("spread is at least 0, and floor is positive")

    @property
    def calls(self) -> int:
        """Rewards that a search asks for."""
        return self.rounds * self.candidates

    def __call__(
        self, score: Callable[[Tensor], Tensor], mean: Tensor, std: Tensor, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation of good noise, each ``(prompts, *event)``.

        Args:
            score: rewards ``(prompts * candidates,)`` of states, those of a prompt beside each other.
            mean: of the step, ``(prompts, *event)``.
            std: of the step, ``(prompts,)``.
            draw: of the candidates.
        """
        centre, width = torch.zeros_like(mean), torch.ones_like(mean)
        shape = (len(mean), self.candidates, *mean.shape[1:])
        for _ in range(self.rounds):
            noise = centre[:, None] + width[:, None] * draw.normal(shape)
            states = mean[:, None] + expand(std, noise) * noise
            best = score(states.flatten(0, 1)).reshape(shape[:2]).topk(self.elites, 1).indices
            kept = noise[torch.arange(len(mean), device=mean.device)[:, None], best]
            centre, width = kept.mean(1), kept.std(1, correction=0).clamp_min(self.floor)
        return centre, width
