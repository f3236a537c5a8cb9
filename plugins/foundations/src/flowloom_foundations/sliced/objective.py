"""For networks that are fitted and not trained."""

from __future__ import annotations

from torch import nn

from flowloom.errors import TrainingError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source


class Fitted(Objective):
    """No loss: the network is a velocity as soon as it is fitted. Write ``train: {steps: 0}``.

    The field knows no path, as it was not made of one; solvers that need its score or data refuse it.

    Args:
        path: of the recipe, for its geometry; nothing follows it.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """A velocity."""
        return "velocity"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """There is none.

        Raises:
            TrainingError: always.
        """
        raise TrainingError("objective: fitted trains nothing; write train: {steps: 0}")

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        found = NetworkField(model, self.kind)
        found.geometry = self.path.geometry
        return found
