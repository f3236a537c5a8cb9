"""CSPNet that sees where atoms stand: the baseline of flows that do not know the torus."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from flowloom.spec import Spec
from flowloom.symmetries import Permutation, Symmetry
from flowloom_molecules.crystals.network import CSPNet
from flowloom_molecules.graphs import Graphs


class AbsoluteCSPNet(CSPNet):
    r"""CSPNet whose atoms also know their own coordinates, and whose velocities keep their mean.

    .. math:: h_i \leftarrow h_i + W (f_i - \tfrac12, \sin 2\pi k f_i, \cos 2\pi k f_i)

    On the torus nothing depends on where the origin lies, but a flow of raw coordinates in a box does: walls
    stand at 0 and 1, and a velocity has a mean over the cell that only this tells. Messages are those of
    `CSPNet`, periodic differences included, so that nothing is taken from it. It has no symmetry but
    permutations.

    Args:
        spec: of the states, with the parts ``frac``, ``lengths``, ``angles`` and ``types``.
        width: of messages and atoms.
        depth: rounds of messages.
        frequencies: of coordinates and of differences.
        rows: training rows that statistics are measured on, evenly spread.
    """

    symmetries: ClassVar[tuple[Symmetry, ...]] = (Permutation({"frac": 1, "types": 1}),)

    def __init__(
        self, spec: Spec, width: int = 128, depth: int = 4, frequencies: int = 16, rows: int = 4096
    ) -> None:
        super().__init__(spec, width, depth, frequencies, rows)
        # A cosine of frequency 0 says nothing, and is left in: there is one list of frequencies.
        self.place = nn.Linear(3 + 6 * frequencies, width)

    def atoms(self, types: Tensor, place: Tensor, time: Tensor) -> Tensor:
        """What atoms know before they hear of others, their coordinates included."""
        angle = place[..., None] * self.harmonics.to(place)
        waves = torch.cat([angle.sin(), angle.cos()], -1).flatten(1)
        # As loud as an embedding: coordinates in the box have a deviation of 1 / sqrt(12).
        own = torch.cat([(place - 0.5) * math.sqrt(12), waves], -1)
        return super().atoms(types, place, time) + self.place(own)

    def moves(self, hidden: Tensor, graphs: Graphs) -> Tensor:
        """Velocities of coordinates ``(nodes, 3)``, with their mean over the cell."""
        return self.coordinates(hidden) * self.speed
