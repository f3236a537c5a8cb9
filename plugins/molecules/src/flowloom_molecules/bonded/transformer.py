"""Graph transformer on atoms, pairs of atoms and the graph as a whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_molecules.bonded.block import GraphBlock
from flowloom_molecules.bonded.symmetry import GraphPermutation, matrix_of, triangle_of


class GraphTransformer(nn.Module):
    """The network of DiGress (Vignac et al. 2209.14734), on which CatFlow runs (2406.04843).

    The state has the parts ``types`` and ``bonds``, tokens or rows of numbers for every atom and every pair;
    the answer has as many numbers for each, logits or velocities. Pairs are laid out as a symmetric matrix,
    and read as the mean of (i, j) and (j, i). What goes in is added to what comes out. Atoms that change
    places take their answers and those of their pairs with them.

    Args:
        spec: of the states.
        width: of atoms, a multiple of ``heads``.
        pair_width: of pairs.
        graph_width: of the graph as a whole, which time and conditions steer.
        depth: layers.
        heads: see `GraphBlock`.
        hidden: widths of the networks of two layers inside, of atoms, pairs and graph; twice the others where
            None.
        dropout: see `GraphBlock`.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        pair_width: int = 32,
        graph_width: int = 64,
        depth: int = 5,
        heads: int = 8,
        hidden: tuple[int, int, int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sizes(width=width, pair_width=pair_width, graph_width=graph_width, depth=depth, heads=heads)
        if width % heads:
            raise ValueError(f"width is a multiple of heads, got {width} and {heads}")
        self.n, self.kinds = _graph_of(spec)
        self.spec = spec
        self.symmetries = (GraphPermutation({"types": 1}, pairs=("bonds",)),)
        # Tokens have one more id than their vocabulary: sources may use it as the mask.
        self.seen = {name: kinds + (spec.parts[name].vocab is not None) for name, kinds in self.kinds.items()}
        inside = hidden or (2 * width, 2 * pair_width, 2 * graph_width)
        self.into, self.out = nn.ModuleDict(), nn.ModuleDict()
        for name, size, middle in (("types", width, inside[0]), ("bonds", pair_width, inside[1])):
            self.into[name] = nn.Sequential(_two(self.seen[name], middle, size), nn.ReLU())
            self.out[name] = _two(size, middle, self.kinds[name])
        self.time = TimeEmbedding(graph_width)
        self.condition = ConditionEmbedding(spec.conditions, graph_width)
        self.blocks = nn.ModuleList(
            GraphBlock(width, pair_width, graph_width, heads, inside, dropout, last=i == depth - 1)
            for i in range(depth)
        )

    def forward(self, x: Any, t: Tensor, /, **cond: Tensor) -> Any:
        """Logits or velocities of every atom and pair, zeros in padding."""
        layout = Layout.of(self.spec, cond)
        given: Any = {name: self._rows(x[name], name) for name in self.kinds}
        if layout is not None:
            given = layout.zero(given)
        n = self.n
        own = layout.at("types").real if layout is not None else None
        real = torch.ones(len(t), n, dtype=torch.bool, device=t.device) if own is None else own
        y = self.time(t) + self.condition(cond, len(t))
        nodes = self.into["types"](given["types"]) * real[..., None]
        both = real[:, :, None] & real[:, None, :]
        pairs = self.into["bonds"](matrix_of(given["bonds"], n)) * both[..., None]
        for block in self.blocks:
            nodes, pairs, y = block(nodes, pairs, y, real)
        edges = self.out["bonds"](pairs)
        edges = triangle_of((edges + edges.transpose(1, 2)) / 2)
        answer = {
            "types": self.out["types"](nodes) + given["types"][..., : self.kinds["types"]],
            "bonds": edges + given["bonds"][..., : self.kinds["bonds"]],
        }
        return answer if layout is None else layout.zero(answer)

    def _rows(self, value: Tensor, name: str) -> Tensor:
        """Tokens as one-hot rows; numbers as they are. Padding may hold any id."""
        if value.is_floating_point():
            return value
        seen = self.seen[name]
        return F.one_hot(value.clamp(0, seen - 1), seen).to(next(self.parameters()).dtype)


def _graph_of(spec: Spec) -> tuple[int, dict[str, int]]:
    """Number of atoms, and of what is said of each atom and each pair.

    Raises:
        IncompatibleError: the states are no graphs.
    """
    types, bonds = spec.parts.get("types"), spec.parts.get("bonds")
    n = types.shape[0] if types is not None and types.shape else 0
    if types is None or bonds is None or len(spec.parts) != 2 or bonds.shape[:1] != (n * (n - 1) // 2,):
        raise IncompatibleError(
            "model graph-transformer is of graphs with the parts types (atoms) and bonds (their pairs); the "
            f"state has {', '.join(spec.parts) or 'one tensor'}"
        )
    parts = {"types": types, "bonds": bonds}
    return n, {name: leaf.vocab or leaf.shape[-1] for name, leaf in parts.items()}


def _two(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
