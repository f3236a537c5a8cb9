"""EGNN: messages that see distances, positions that move along differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.symmetries import Permutation, Rotation, Translation
from flowloom_molecules.graphs import Graphs


class EGNN(nn.Module):
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

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 96,
        depth: int = 6,
        answer: Literal["data", "velocity"] = "data",
        span: float = 15.0,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth)
        real = [name for name, leaf in spec.parts.items() if leaf.vocab is None]
        if len(real) != 1 or spec.parts[real[0]].shape[1:] != (3,):
            raise IncompatibleError(
                "model egnn is of states with one part of positions (atoms, 3) beside parts of tokens; the "
                f"state has {', '.join(spec.parts) or 'one tensor'}"
            )
        self.spec, self.answer, self.where = spec, answer, real[0]
        self.symmetries = (
            Rotation((self.where,), reflections=True),
            Translation((self.where,)),
            Permutation(dict.fromkeys(spec.parts, 1)),
        )
        self.kinds = {name: leaf.vocab for name, leaf in spec.parts.items() if leaf.vocab is not None}
        # One more id than the vocabulary: sources may use it as the mask token.
        self.embed = nn.ModuleDict(
            {module_name(k): nn.Embedding(v + 1, width) for k, v in self.kinds.items()}
        )
        self.time = TimeEmbedding(width)
        self.condition = ConditionEmbedding(spec.conditions, width)
        self.layers = nn.ModuleList(_Round(width, span) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.read = nn.ModuleDict({module_name(k): nn.Linear(width, v) for k, v in self.kinds.items()})

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Where atoms end, or how they move; and logits of every part of tokens."""
        layout = Layout.of(self.spec, cond)
        padded: Tensor = x[self.where]
        own = layout.at(self.where).real if layout is not None else None
        real = torch.ones(padded.shape[:2], dtype=torch.bool, device=padded.device) if own is None else own
        graphs = Graphs.complete(real)
        start = graphs.centred(graphs.nodes(padded))
        context = self.time(t) + self.condition(cond, len(padded))
        hidden = context[graphs.row]
        for name in self.kinds:
            hidden = hidden + self.embed[module_name(name)](graphs.nodes(x[name]))
        given = _squares(start, graphs)
        place = start
        for layer in self.layers:
            hidden, place = layer(hidden, place, given, graphs)
        hidden = self.norm(hidden)
        moved = graphs.centred(place) if self.answer == "data" else graphs.centred(place - start)
        tokens = {k: graphs.padded(self.read[module_name(k)](hidden)) for k in self.kinds}
        return {name: graphs.padded(moved) if name == self.where else tokens[name] for name in x}

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective that takes the answer for something else."""
        kind = getattr(parts.get("objective"), "kind", None)
        asked = kind.get(self.where) if isinstance(kind, Mapping) else None
        if asked is not None and asked != self.answer:
            yield Clash(
                "model",
                "objective",
                f"this EGNN answers with the {self.answer} of '{self.where}', and the objective reads "
                f"{asked}; give the model answer: {asked}, or the objective predict: {self.answer}",
            )


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
        squares = _squares(place, graphs)
        seen = torch.stack([squares, given, squares.add(1).log(), given.add(1).log()], -1)
        normed = self.norm(hidden)
        first = self.here(normed)[graphs.target] + self.there(normed)[graphs.source] + self.apart(seen)
        message = self.message(first)
        size = graphs.size[graphs.row].clamp_min(1)[:, None].to(message)
        arrived = graphs.gathered(torch.sigmoid(self.gate(message)) * message) / size
        hidden = hidden + self.update(torch.cat([normed, arrived], -1))
        pull = self.push(message)
        if self.span:
            pull = self.span * torch.tanh(pull)
        way = (place[graphs.target] - place[graphs.source]) / ((squares + 1e-8).sqrt() + 1)[:, None]
        return hidden, place + graphs.gathered(way * pull) / size.to(way)


def _squares(place: Tensor, graphs: Graphs) -> Tensor:
    """Squared distances of all pairs, ``(edges,)``."""
    return (place[graphs.target] - place[graphs.source]).square().sum(-1)
