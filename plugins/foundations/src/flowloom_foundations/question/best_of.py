"""The best of several samples: what it gains, and how far it goes from the law that they are of."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.energies import Energy, require_energy
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import derive

__all__ = ["BestOf"]


class BestOf(Score):
    r"""Draws n samples for each that is kept, the one of the highest reward: post-training without training.

    Where rewards have no ties, the law of what is kept has the density :math:`n F(r(x))^{n-1}` with respect
    to the flow's, F being the distribution function of rewards, whence
    :math:`KL = \log n - (n - 1)/n`: nothing of the reward enters (Beirami et al. 2401.01879, who show it to
    be an upper bound otherwise).

    * ``reward``: mean over the flow's samples; ``best_reward``: over those that are kept;
    * ``gain``: their difference in standard deviations of the flow's;
    * ``kl``: estimated from samples, with F counted on others than those that are kept;
    * ``kl_exact``: as above.

    Args:
        energy: minus the reward.
        n: of which one is kept.
        kept: how many are kept.
    """

    of_data = False
    better: ClassVar = {"reward": "higher", "best_reward": "higher", "gain": "higher", "kl": "lower"}
    about: ClassVar = {
        "reward": "Mean reward of samples.",
        "best_reward": "Mean reward of the best of several samples.",
        "gain": "What the best of several gain, in standard deviations of the reward.",
        "kl": "Estimated divergence of the best of several from the flow, in nats.",
    }

    def __init__(self, energy: Energy, n: int = 8, kept: int = 500) -> None:
        if n < 1 or kept < 2:
            raise ValueError(f"n is at least 1 and kept at least 2, got {n} and {kept}")
        self.energy, self.n, self.kept = energy, n, kept

    def require(self, flow: Flow) -> None:
        """Ask for a flow that draws what the energy is of.

        Raises:
            IncompatibleError: it generates nothing, or other data.
        """
        if not flow.objective.generates:
            raise IncompatibleError("score best-of-n draws samples, and this objective generates none")
        require_energy(
            self.energy, flow.spec if flow.codec is None else flow.codec.data_spec, "score best-of-n"
        )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """All of them; examples are not looked at."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score best-of-n: there is no example to score")
        first, other = (self._rewards(flow, derive(seed, "best-of", i)) for i in range(2))
        best = first.reshape(self.kept, self.n).max(1).values
        base = torch.cat([first, other])
        # Ranks among other samples; those above all count as half a rank below the top.
        ranks = torch.searchsorted(other.sort().values, best, right=True).double()
        share = ranks.clamp(0.5, len(other) - 0.5) / len(other)
        return {
            "reward": float(base.mean()),
            "best_reward": float(best.mean()),
            "gain": float((best.mean() - base.mean()) / base.std()),
            "kl": float((math.log(self.n) + (self.n - 1) * share.log()).mean()),
            "kl_exact": math.log(self.n) - (self.n - 1) / self.n,
        }

    def _rewards(self, flow: Flow, seed: int) -> Tensor:
        """Of ``kept n`` samples, in double precision."""
        x = flow.sample(self.kept * self.n, seed=seed, batch=4096)
        return -self.energy(x, {}).double().cpu()
