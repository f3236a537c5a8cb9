"""A velocity with a second term in which the rows of a batch see each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import Model, TimeEmbedding, speak_for
from flowloom.spec import Spec


class NeighbourAware(nn.Module):
    r"""Reaction and diffusion: :math:`v(x_i, t) = v_{react}(x_i, t) + v_{diff}(x_i, t; N_i)` (2505.24434).

    The reaction is any network. The diffusion is a graph over the rows of the batch, whose edges are
    attention weights :math:`a_{ij}` between nodes, and messages are differences along them, a graph's
    gradient:

    .. math:: h_i \leftarrow h_i + W\,\mathrm{SiLU}\big(U h_i + \sum_j a_{ij} V (h_j - h_i)\big),

    from an embedding of state and time. Neighbours are rows of the same time, which in sampling all are;
    train with a law of times that gives several rows the same (`SharedTimes`), or none has a neighbour. It
    starts at zero. Ends are paired independently, so the best velocity does not depend on neighbours: what
    may be gained is gained from finite networks and data. Batches are never split in sampling, and a flow
    should not be sampled one by one; branches of guidance would be neighbours of each other. Edges, sizes
    and depth are our reading: no code was found.

    Args:
        spec: of the data: one real tensor; injected from the recipe.
        network: the reaction.
        width: of the nodes.
        layers: of messages.
        connected: False for a graph without edges: as many parameters, and no neighbours.

    Raises:
        IncompatibleError: states are tokens or have parts.
    """

    def __init__(
        self, spec: Spec, network: Model, width: int = 48, layers: int = 2, connected: bool = True
    ) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("neighbour-aware takes states of one real tensor")
        self.spec, self.network, self.connected = spec, network, connected
        size = math.prod(spec.shape)
        self.embed, self.time = nn.Linear(size, width), TimeEmbedding(width, features=width - width % 2)
        self.layers = nn.ModuleList(_Messages(width) for _ in range(layers))
        self.out = nn.Linear(width, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        speak_for(self, network)
        if connected:
            self.batch_independent = False

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Velocities ``(batch, *event)``."""
        reaction: Tensor = self.network(x, t, **cond)
        nodes = self.embed(x.flatten(1)) + self.time(t)
        near = t[:, None] == t if self.connected else None
        for layer in self.layers:
            nodes = layer(nodes, near)
        return reaction + self.out(nodes).reshape(x.shape)


class _Messages(nn.Module):
    """One layer of messages between nodes ``(n, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)
        self.own, self.join = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, nodes: Tensor, near: Tensor | None) -> Tensor:
        h = self.norm(nodes)
        heard = torch.zeros_like(h)
        if near is not None:
            score = self.query(h) @ self.key(h).T / math.sqrt(h.shape[1])
            edges = score.masked_fill(~near, -math.inf).softmax(1)
            carried = self.value(h)
            heard = edges @ carried - carried  # rows of edges sum to one
        joined: Tensor = nodes + self.join(nn.functional.silu(self.own(h) + heard))
        return joined
