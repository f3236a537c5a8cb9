"""EGNN: messages that see distances, positions that move along differences."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_molecules.graphs import Graphs
from flowloom_molecules.molecules.network import AtomNetwork, squares


class EGNN(AtomNetwork):
    r"""Equivariant graph network on all pairs of atoms (Satorras et al. 2102.09844, as in EDM 2203.17003).

    .. math:: m_{ij} = \phi_e(h_i, h_j, d_{ij}^2, \bar d_{ij}^2), \quad
        h_i \leftarrow h_i + \phi_h(h_i, \textstyle\sum_j \sigma(\phi_a m_{ij})\, m_{ij} / n), \quad
        x_i \leftarrow x_i + \textstyle\sum_j \frac{x_i - x_j}{d_{ij} + 1}\, \phi_x(m_{ij}) / n

    with :math:`\bar d` the distances that it was given. The centre of the real atoms is taken out of what
    goes in and what comes out. Every part of tokens beside the positions is embedded, and answered by
    logits. Rotations, reflections and permutations of the atoms commute with it; shifts change nothing.

    Args:
        spec: of the states: one real-valued part ``(atoms, 3)``, and any parts ``(atoms,)`` of tokens.
        width: of messages and atoms.
        depth: rounds of messages.
        answer: ``data``, where the atoms end; or ``velocity``, how they move.
        span: bounds each round's move of an atom to so many angstrom (a hyperbolic tangent); none where 0.
    """

    called = "egnn"

    def __init__(
        self,
        spec: Spec,
        width: int = 96,
        depth: int = 6,
        answer: Literal["data", "velocity"] = "data",
        span: float = 15.0,
    ) -> None:
        require_sizes(width=width, depth=depth)
        if not 0 <= span < math.inf:
            raise ValueError(f"span is finite and not negative, 0 for none; got {span}")
        super().__init__(spec, width, (_Round(width, span) for _ in range(depth)), answer)


class _Round(nn.Module):
    """One round; the first layer of the message network is applied to atoms and pairs apart."""

    def __init__(self, width: int, span: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.here, self.there = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.apart = nn.Linear(4, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.gate = nn.Linear(width, 1)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.push = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        nn.init.xavier_uniform_(self.push[-1].weight, gain=1e-2)  # type: ignore[arg-type]
        self.span = span

    def forward(self, hidden: Tensor, place: Tensor, given: Tensor, graphs: Graphs) -> tuple[Tensor, Tensor]:
        now = squares(place, graphs)
        seen = torch.stack([now, given, now.add(1).log(), given.add(1).log()], -1)
        normed = self.norm(hidden)
        first = self.here(normed)[graphs.target] + self.there(normed)[graphs.source] + self.apart(seen)
        message = self.message(first)
        size = graphs.size[graphs.row].clamp_min(1)[:, None].to(message)
        arrived = graphs.gathered(torch.sigmoid(self.gate(message)) * message) / size
        hidden = hidden + self.update(torch.cat([normed, arrived], -1))
        pull = self.push(message)
        if self.span:
            pull = self.span * torch.tanh(pull)
        way = (place[graphs.target] - place[graphs.source]) / ((now + 1e-8).sqrt() + 1)[:, None]
        return hidden, place + graphs.gathered(way * pull) / size.to(way)
