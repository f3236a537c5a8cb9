"""The data from their conditions alone: with view ``itself``, an autoencoder."""

from __future__ import annotations

import torch
from torch import nn

from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.layout import mean_of_entries
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source

__all__ = ["FromConditions"]


class FromConditions(Objective):
    r"""Regression of states on their conditions: :math:`E\,|f(0, 1, c) - x_1|^2`, mean over entries.

    The network reads a state of zeros at time 1. With view ``itself`` and ``model: represented`` that is an
    autoencoder of the same encoder and decoder as FlowFM. Nothing is sampled of it.

    Args:
        path: injected from the recipe, for the kind of states.
    """

    generates = False

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or AffinePath()

    @property
    def kind(self) -> Kind:
        """``reconstruction``, which no solver takes."""
        return "reconstruction"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Ask for the data, with nothing but their conditions."""
        x = batch.x1
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            raise ShapeError("objective from-conditions regresses one real tensor")
        layout, nothing = batch.layout, torch.zeros_like(x)
        if layout is not None:  # what is given is given here, too
            x = layout.fill(x)
            nothing = layout.holding(x).hold(nothing)
        off = model(nothing, x.new_ones(len(x)), **batch.cond) - x
        off = off if layout is None else layout.still(off)
        free = None if layout is None else layout.free
        return Loss(mean_of_entries(off.square(), free).mean())

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The answers."""
        return NetworkField(model, self.kind, self.path, source)
