"""Small graphs as sequences of edges, and how far samples of them are from real ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import ShapeError
from flowloom.metrics import Metric, sliced_wasserstein
from flowloom.spec import Spec
from flowloom_sequences.metrics.ngram import tokens_and_mask


class SmallGraphs(Drawn):
    """Graphs of an even number of nodes: half have two communities of equal size, half are stars.

    An edge within a community is there with probability 0.85, between them with 0.10; a star has a random
    hub with an edge to every other node, and no other edge. An example is the upper triangle of the
    adjacency matrix, row by row: ``(nodes (nodes - 1) / 2,)`` of two tokens, without and with an edge.

    Args:
        nodes: of every graph.
        n: graphs in every split.
        seed: of the draws.
    """

    def __init__(self, nodes: int = 10, n: int = 20_000, seed: int = 0) -> None:
        super().__init__(n, seed)
        if nodes < 4 or nodes % 2:
            raise ValueError(f"nodes is an even number from 4, got {nodes}")
        self.nodes = nodes

    @property
    def spec(self) -> Spec:
        """Edges ``(nodes (nodes - 1) / 2,)``, two tokens."""
        return Spec(shape=(self.nodes * (self.nodes - 1) // 2,), vocab=2)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Graphs without conditions."""
        a, b = pairs(self.nodes)
        side = torch.arange(self.nodes) // (self.nodes // 2)
        p = torch.where(side[a] == side[b], 0.85, 0.10)
        communities = torch.rand(n, len(p), generator=generator) < p
        hub = torch.randint(self.nodes, (n, 1), generator=generator)
        star = torch.rand(n, 1, generator=generator) < 0.5
        return Examples(torch.where(star, (a == hub) | (b == hub), communities).long())


class GraphStatistics(Metric):
    """Distance of graphs by their sorted degrees and their triangles, and by the share without triangles.

    ``graph_distance`` is the sliced Wasserstein distance of sorted degrees beside a tenth of the number of
    triangles; ``triangle_free_gap`` the difference of the shares of graphs without a triangle.
    """

    better: ClassVar = {"graph_distance": "lower", "triangle_free_gap": "lower"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``graph_distance`` and ``triangle_free_gap`` of edges ``(n, nodes (nodes - 1) / 2)``."""
        self.require_rows(samples, real)
        ours, theirs = (statistics(tokens_and_mask(one)[0]) for one in (samples, real))
        share, wanted = (float((s[:, -1] == 0).double().mean()) for s in (ours, theirs))
        return {"graph_distance": sliced_wasserstein(ours, theirs), "triangle_free_gap": abs(share - wanted)}


def pairs(nodes: int) -> tuple[Tensor, Tensor]:
    """The two nodes of every possible edge, in the order of an example."""
    a, b = torch.triu_indices(nodes, nodes, offset=1)
    return a, b


def statistics(edges: Tensor) -> Tensor:
    """Sorted degrees, and triangles / 10 last: ``(n, nodes + 1)`` in float64.

    Raises:
        ShapeError: so many edges are no upper triangle.
    """
    nodes = round((1 + (1 + 8 * edges.shape[1]) ** 0.5) / 2)
    if nodes * (nodes - 1) // 2 != edges.shape[1]:
        raise ShapeError(f"graph-statistics takes the upper triangle of a graph; {edges.shape[1]} is none")
    a = torch.zeros(len(edges), nodes, nodes, dtype=torch.float64)
    rows, columns = pairs(nodes)
    a[:, rows, columns] = edges.cpu().double()
    a = a + a.transpose(1, 2)
    triangles = (a @ a @ a).diagonal(dim1=1, dim2=2).sum(1) / 6
    return torch.cat([a.sum(1).sort(1).values, triangles[:, None] / 10], 1)
