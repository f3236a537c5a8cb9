"""CSPNet on lattice parameters: the periodic graph network of DiffCSP and FlowMM."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.models import TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import first_leaf
from flowloom.symmetries import Period, Permutation, Symmetry, Translation
from flowloom_molecules.graphs import Graphs


class CSPNet(nn.Module):
    r"""Messages between all pairs of atoms of a cell; positions enter as differences on the torus alone.

    .. math:: m_{ij} = \phi_m(h_i, h_j, l, \psi(f_j - f_i)), \qquad
        h_i \leftarrow h_i + \phi_h(h_i, \textstyle\frac1n \sum_j m_{ij})

    with :math:`\psi` the sines and cosines of :math:`2\pi k (f_j - f_i)`, k = 0 .. frequencies - 1, and l the
    lattice parameters (Jiao et al. 2309.04475, appendix B.1; with parameters in place of the matrix, FlowMM
    2406.04713). Velocities of coordinates are read off atoms, with their mean over the cell taken out;
    those of the lattice off the sum and mean over the cell. Answers do not change under shifts of the cell
    and whole turns of atoms, and permute with them. What goes in and out of the network for lattice and
    coordinates is scaled by statistics of the path, measured before training.

    Args:
        spec: of the states, with the parts ``frac``, ``lengths``, ``angles`` and ``types``.
        width: of messages and atoms.
        depth: rounds of messages.
        frequencies: of the differences.
        rows: training rows that statistics are measured on, evenly spread.
    """

    symmetries: ClassVar[tuple[Symmetry, ...]] = (
        Permutation({"frac": 1, "types": 1}),
        Translation(("frac",)),
        Period(("frac",)),
    )

    mean: Tensor
    std: Tensor
    speed_mean: Tensor
    speed_std: Tensor
    speed: Tensor
    harmonics: Tensor

    def __init__(
        self, spec: Spec, width: int = 128, depth: int = 4, frequencies: int = 16, rows: int = 4096
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, frequencies=frequencies)
        if not {"frac", "lengths", "angles", "types"} <= set(spec.parts):
            raise IncompatibleError(
                f"model cspnet is of cells with frac, lengths, angles and types; the state has "
                f"{', '.join(spec.parts) or 'one tensor'}"
            )
        self.spec, self.rows = spec, rows
        types = spec.parts["types"]
        self.vocab = types.vocab
        size = types.vocab + 1 if types.vocab is not None else types.shape[-1]
        self.types: nn.Module = (
            nn.Embedding(size, width) if self.vocab is not None else nn.Linear(size, width)
        )
        self.time = TimeEmbedding(width)
        self.into = nn.Linear(2 * width, width)
        self.layers = nn.ModuleList(_Messages(width, frequencies) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.coordinates = nn.Linear(width, 3, bias=False)
        self.lattice = nn.Linear(2 * width, 6)
        self.kinds = nn.Linear(width, self.vocab or size)
        self.register_buffer("harmonics", 2 * math.pi * torch.arange(frequencies), persistent=False)
        for name in ("mean", "speed_mean"):
            self.register_buffer(name, torch.zeros(6))
        for name in ("std", "speed_std"):
            self.register_buffer(name, torch.ones(6))
        self.register_buffer("speed", torch.ones(()))

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Flow | None, generator: torch.Generator | None) -> None:
        """Measure states and velocities of the path on training rows."""
        if data is None or flow is None:
            return
        # Evenly spread: rows of a file are often sorted.
        states = flow.encode(data.take(data.evenly(self.rows)), generator)
        x1: Any = states.x
        x0 = flow.start_for(states, generator)
        layout = flow.layout(states.cond)
        x0 = flow.coupling.pair(x0, x1, states.cond, layout, generator=generator)
        if layout is not None:
            x0, x1 = layout.fill(x0), layout.fill(x1)
        leaf = first_leaf(x1)
        t = torch.rand(len(leaf), generator=generator).to(leaf)
        point: Any = flow.path.sample(x0, x1, t, generator=generator)
        if layout is not None:
            point = point.held(layout)
        state = torch.cat([point.x_t["lengths"], point.x_t["angles"]], 1)
        speed = torch.cat([point.velocity["lengths"], point.velocity["angles"]], 1)
        least = 1e-3
        self.mean, self.std = state.mean(0), state.std(0).clamp_min(least)
        self.speed_mean, self.speed_std = speed.mean(0), speed.std(0).clamp_min(least)
        moving = point.velocity["frac"]
        real = states.cond.get("atoms")
        self.speed = (moving if real is None else moving[real]).std().clamp_min(least)

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Velocities of coordinates and lattice, and velocities or logits of elements."""
        layout = Layout.of(self.spec, cond)
        frac: Tensor = x["frac"]
        own = layout.at("frac").real if layout is not None else None
        real = torch.ones(frac.shape[:2], dtype=torch.bool, device=frac.device) if own is None else own
        graphs = Graphs.complete(real, loops=True)
        cell = (torch.cat([x["lengths"], x["angles"]], 1) - self.mean) / self.std
        place = graphs.nodes(frac)
        hidden = self.atoms(graphs.nodes(x["types"]), place, self.time(t)[graphs.row])
        way = place[graphs.source] - place[graphs.target]
        angle = way[..., None] * self.harmonics.to(way)
        waves = torch.cat([angle.sin(), angle.cos()], -1).flatten(1)
        for layer in self.layers:
            hidden = layer(hidden, cell, waves, graphs)
        hidden = self.norm(hidden)
        total = graphs.pooled(hidden)
        mean = total / graphs.size.clamp_min(1)[:, None].to(total)
        lattice = self.lattice(torch.cat([mean, total], -1)) * self.speed_std + self.speed_mean
        return {
            "frac": graphs.padded(self.moves(hidden, graphs)),
            "lengths": lattice[:, :3],
            "angles": lattice[:, 3:],
            "types": graphs.padded(self.kinds(hidden)),
        }

    def atoms(self, types: Tensor, place: Tensor, time: Tensor) -> Tensor:
        """What atoms know before they hear of others, ``(nodes, width)``: not where they stand."""
        return self.into(torch.cat([self.types(types), time], -1))

    def moves(self, hidden: Tensor, graphs: Graphs) -> Tensor:
        """Velocities of coordinates ``(nodes, 3)``, without their mean over the cell."""
        return graphs.centred(self.coordinates(hidden) * self.speed)


class _Messages(nn.Module):
    """One round. The first layer of the message network is applied to atoms, cells and differences apart."""

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.here, self.there = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.cell, self.way = nn.Linear(6, width, bias=False), nn.Linear(6 * frequencies, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.update = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, hidden: Tensor, cell: Tensor, waves: Tensor, graphs: Graphs) -> Tensor:
        normed = self.norm(hidden)
        to = self.here(normed) + self.cell(cell)[graphs.row]
        first = to[graphs.target] + self.there(normed)[graphs.source] + self.way(waves)
        arrived = graphs.gathered(self.message(first))
        mean = arrived / graphs.size[graphs.row].clamp_min(1)[:, None].to(arrived)
        return hidden + self.update(torch.cat([normed, mean], -1))
