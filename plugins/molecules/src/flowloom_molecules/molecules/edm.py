"""The network of EDM: the EGNN whose positions move by a network of their own."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_molecules.graphs import Graphs
from flowloom_molecules.molecules.network import AtomNetwork, squares


class EDMNetwork(AtomNetwork):
    r"""EGNN as EDM has it (Hoogeboom et al. 2203.17003), and after it GeoLDM and EquiFM (2312.07168).

    .. math:: m_{ij} = \phi_e(h_i, h_j, d_{ij}^2, \bar d_{ij}^2), \quad
        h_i \leftarrow h_i + \phi_h(h_i, \textstyle\sum_j \sigma(\phi_a m_{ij})\, m_{ij} / c), \quad
        x_i \leftarrow x_i + \textstyle\sum_j \frac{x_i - x_j}{d_{ij} + 1}\,
        r \tanh \phi_x(h_i, h_j, d_{ij}^2, \bar d_{ij}^2) / c

    Rounds have the parameters of the authors' code, one for one; `egnn` shares one network between messages
    and moves, normalises, and takes means. What stands around the rounds is ours: tokens and times are
    embedded and numbers normalised once before logits are read, where theirs are linear maps of one-hot
    kinds beside t. Rotations, reflections and permutations of the atoms commute with it; shifts change
    nothing.

    Args:
        spec: of the states: one real-valued part ``(atoms, 3)``, and any parts ``(atoms,)`` of tokens.
        width: of messages and atoms.
        depth: rounds.
        sublayers: updates of the numbers in every round, before atoms move once.
        share: what sums over atoms are divided by: 100 where the authors train on QM9, 1 on GEOM-Drugs.
        answer: ``data``, where the atoms end; or ``velocity``, how they move.
        span: r, angstrom.

    Raises:
        IncompatibleError: the state is none of atoms in space, or sums are divided by nothing.
    """

    called = "edm-egnn"

    def __init__(
        self,
        spec: Spec,
        width: int = 256,
        depth: int = 9,
        sublayers: int = 1,
        share: float = 100.0,
        answer: Literal["data", "velocity"] = "data",
        span: float = 15.0,
    ) -> None:
        require_sizes(width=width, depth=depth, sublayers=sublayers)
        if not (0 < share < math.inf and 0 < span < math.inf):
            raise IncompatibleError(
                f"share and span of edm-egnn are finite and above 0, got {share} and {span}"
            )
        super().__init__(spec, width, (_Round(width, sublayers, share, span) for _ in range(depth)), answer)


class _Round(nn.Module):
    def __init__(self, width: int, sublayers: int, share: float, span: float) -> None:
        super().__init__()
        self.share, self.span = share, span
        self.updates = nn.ModuleList(_Update(width, share) for _ in range(sublayers))
        self.pair = _Pair(width)
        self.push = nn.Linear(width, 1, bias=False)
        nn.init.xavier_uniform_(self.push.weight, gain=1e-3)

    def forward(self, hidden: Tensor, place: Tensor, given: Tensor, graphs: Graphs) -> tuple[Tensor, Tensor]:
        now = squares(place, graphs)
        seen = torch.stack([now, given], -1)
        for update in self.updates:
            hidden = update(hidden, seen, graphs)
        pull = self.span * torch.tanh(self.push(self.pair(hidden, seen, graphs)))
        way = (place[graphs.target] - place[graphs.source]) / ((now + 1e-8).sqrt() + 1)[:, None]
        return hidden, place + graphs.gathered(way * pull) / self.share


class _Update(nn.Module):
    """Numbers of atoms by the messages that arrive."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.pair = _Pair(width)
        self.gate = nn.Linear(width, 1)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, hidden: Tensor, seen: Tensor, graphs: Graphs) -> Tensor:
        message = self.pair(hidden, seen, graphs)
        arrived = graphs.gathered(torch.sigmoid(self.gate(message)) * message) / self.share
        return hidden + self.update(torch.cat([hidden, arrived], -1))


class _Pair(nn.Module):
    """A network of two layers on pairs; the first is applied to atoms and distances apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.here, self.there = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.apart = nn.Linear(2, width, bias=False)
        self.rest = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, hidden: Tensor, seen: Tensor, graphs: Graphs) -> Tensor:
        first = self.here(hidden)[graphs.target] + self.there(hidden)[graphs.source] + self.apart(seen)
        return self.rest(first)
