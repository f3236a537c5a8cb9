"""Padded states as graphs: the one place where rows of a batch become edges, and atoms' values rows again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import MissingDependencyError
from flowloom.state import expand


@dataclass(frozen=True)
class Graphs:
    """All pairs of real points of every row, as torch-geometric has them: nodes in one long list.

    Args:
        real: which points exist, ``(batch, n)``.
        row: the row of every node, ``(nodes,)``.
        source: node that an edge comes from, ``(edges,)``.
        target: node that an edge goes to, ``(edges,)``, in order.
        size: nodes of every row, ``(batch,)``.
    """

    real: Tensor
    row: Tensor
    source: Tensor
    target: Tensor
    size: Tensor

    @classmethod
    def complete(cls, real: Tensor, loops: bool = False) -> Graphs:
        """Every real point joined with every other of its row, and with itself where ``loops``."""
        batch, n = real.shape
        pairs = real[:, :, None] & real[:, None, :]
        if not loops:
            pairs = pairs & ~torch.eye(n, dtype=torch.bool, device=real.device)
        number = torch.cumsum(real.flatten().long(), 0).reshape(batch, n) - 1
        row, i, j = pairs.nonzero(as_tuple=True)
        return cls(real, real.nonzero(as_tuple=True)[0], number[row, j], number[row, i], real.sum(1))

    @property
    def edge_row(self) -> Tensor:
        """The row of every edge."""
        return self.row[self.target]

    def nodes(self, padded: Tensor) -> Tensor:
        """Values of points ``(batch, n, ...)`` as values of nodes ``(nodes, ...)``."""
        return padded[self.real]

    def padded(self, values: Tensor) -> Tensor:
        """Values of nodes as values of points, 0 in padding."""
        out = values.new_zeros((*self.real.shape, *values.shape[1:]))
        out[self.real] = values
        return out

    def gathered(self, messages: Tensor) -> Tensor:
        """Sum of the messages that arrive at every node."""
        out = messages.new_zeros((len(self.row), *messages.shape[1:]))
        return out.index_add(0, self.target, messages)

    def pooled(self, values: Tensor) -> Tensor:
        """Sum of the values of every row's nodes, ``(batch, ...)``."""
        out = values.new_zeros((len(self.real), *values.shape[1:]))
        return out.index_add(0, self.row, values)

    def centred(self, values: Tensor) -> Tensor:
        """Values of nodes with the mean of their row taken out."""
        mean = self.pooled(values) / expand(self.size.clamp_min(1), values).to(values)
        return values - mean[self.row]


def to_pyg(pos: Tensor, types: Tensor, real: Tensor) -> Any:
    """A torch-geometric ``Batch`` of padded molecules: ``pos``, ``z``, ``batch``, complete ``edge_index``.

    Args:
        pos: ``(batch, n, 3)``.
        types: ``(batch, n)``.
        real: ``(batch, n)``.

    Raises:
        MissingDependencyError: torch-geometric is not installed.
    """
    try:
        from torch_geometric.data import Batch, Data
    except ImportError as error:
        raise MissingDependencyError("to_pyg needs torch-geometric; pip install torch-geometric") from error
    graphs = []
    for one, kinds, there in zip(pos, types, real, strict=True):
        n = int(there.sum())
        i, j = (~torch.eye(n, dtype=torch.bool, device=pos.device)).nonzero(as_tuple=True)
        graphs.append(Data(pos=one[there], z=kinds[there], edge_index=torch.stack([j, i])))
    return Batch.from_data_list(graphs)
