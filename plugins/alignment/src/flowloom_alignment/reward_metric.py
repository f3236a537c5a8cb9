"""How much reward samples get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from flowloom.data import Dataset, Examples
from flowloom.energies import Energy, require_energy
from flowloom.metrics import Metric
from flowloom_alignment.groups import rewards_of

__all__ = ["Reward"]


class Reward(Metric):
    """Mean reward of samples, the gain over held-out data, and the deviation.

    A high reward says nothing of what was lost for it: put ``modes`` or another metric, and a judge that
    training did not see (``energy: ...`` here), beside it.

    Args:
        energy: minus the reward; in a recipe, the recipe's.
        name: of the values, to tell two apart.
    """

    about: ClassVar = {
        "reward": "Mean reward of the samples.",
        "reward_gain": "Mean reward of the samples less that of held-out data.",
    }

    def __init__(self, energy: Energy, name: str = "reward") -> None:
        self.energy, self.name = energy, name

    @property
    def better(self) -> Mapping[str, Literal["lower", "higher"]]:  # type: ignore[override]
        """High rewards."""
        return {self.name: "higher", f"{self.name}_gain": "higher"}

    def fit(self, train: Dataset) -> None:
        """Ask that the energy takes the data, before any sample is drawn.

        Raises:
            IncompatibleError: it is of states of another shape, which might broadcast.
        """
        require_energy(self.energy, train.spec, "metric reward")

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Ask for the rewards of both."""
        self.require_rows(samples, real)
        ours, theirs = (rewards_of(self.energy, e.x, e.cond).double() for e in (samples, real))
        return {
            self.name: float(ours.mean()),
            f"{self.name}_gain": float(ours.mean() - theirs.mean()),
            f"{self.name}_std": float(ours.std(correction=0)),
        }
