"""An MLP over a multiresolution hash grid, whose fine levels fade in as t nears 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.models.embeddings import ConditionEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State

_PRIMES = (1, 2654435761, 805459861, 3674653429)


class HashGrid(nn.Module):
    """Learned features on nested grids over the cube ``[-1, 1]^d``, looked up by hashing.

    The encoding of Müller et al. (2201.05989): every level has a table of feature vectors; a point blends
    those at the corners of its cell. Blending is by the smoothstep polynomial, so that fields built on it
    have continuous derivatives, which likelihoods and solvers need.

    Args:
        dims: d, at most 4.
        levels: number of grids.
        coarsest: cells along an edge of the first.
        finest: cells along an edge of the last; those between are spaced geometrically.
        features: per level.
        table: binary logarithm of the rows of each table.
    """

    corners: Tensor
    primes: Tensor
    offsets: Tensor
    cells: Tensor

    def __init__(
        self,
        dims: int = 3,
        levels: int = 8,
        coarsest: float = 4,
        finest: float = 512,
        features: int = 4,
        table: int = 15,
    ) -> None:
        super().__init__()
        if not 1 <= dims <= 4 or levels < 2:
            raise ValueError(f"a hash grid has 1 to 4 dimensions and 2 levels or more, got {dims}, {levels}")
        rows = 1 << table
        ratio = (finest / coarsest) ** (1 / (levels - 1))
        # The corners of a cell: every combination of 0 and 1.
        ends = torch.cartesian_prod(*(torch.arange(2),) * dims).reshape(-1, dims)
        self.register_buffer(
            "cells", torch.tensor([round(coarsest * ratio**i) for i in range(levels)]).float()
        )
        self.register_buffer("corners", ends)
        self.register_buffer("primes", torch.tensor(_PRIMES[:dims]))
        self.register_buffer("offsets", torch.arange(levels) * rows)
        self.rows = rows
        self.table = nn.Parameter(1e-2 * (2 * torch.rand(levels * rows, features) - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Points ``(batch, d)`` to features ``(batch, levels, features)``."""
        # The shift keeps the cells' boundaries off the planes through the origin, where data often lies.
        scaled = (x[:, None] + 1.01) * (self.cells[:, None] / 2)
        cell = scaled.detach().floor()
        inside = scaled - cell
        blend = inside * inside * (3 - 2 * inside)
        corner = (cell.long()[:, :, None] + self.corners) * self.primes
        hashed = corner[..., 0]
        for k in range(1, corner.shape[-1]):
            hashed = hashed ^ corner[..., k]
        rows = (hashed & (self.rows - 1)) + self.offsets[:, None]
        high = self.corners.bool()
        share = torch.where(high, blend[:, :, None], 1 - blend[:, :, None]).prod(-1)
        return (self.table[rows] * share[..., None]).sum(2)


class GridMLP(nn.Module):
    r"""A residual MLP that reads a point through a `HashGrid`, for sharp densities on small spaces.

    At time t the marginal field of a geodesic path is smooth on lengths below ``1 - t``. A level with r
    cells along an edge therefore enters with weight :math:`\exp(-g\, r^2 (1 - t)^2)`: fine detail is used
    when it exists, and cannot disturb the field (or cost the solver steps) before. Time enters through
    :math:`-\log(1 - t + 10^{-4})`, which resolves the last moments.

    Args:
        spec: of the data: one real vector of at most 4 entries, in about ``[-1, 1]``.
        width: of the hidden layers.
        depth: number of hidden layers.
        levels: see `HashGrid`.
        coarsest: see `HashGrid`.
        finest: see `HashGrid`.
        features: see `HashGrid`.
        table: see `HashGrid`.
        gate: g above; 0 switches the weighting off.
    """

    conditional = True
    frequencies: Tensor

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        depth: int = 3,
        levels: int = 8,
        coarsest: float = 4,
        finest: float = 512,
        features: int = 4,
        table: int = 15,
        gate: float = 0.1,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, levels=levels, features=features)
        if spec.parts or spec.discrete or len(spec.shape) != 1 or spec.shape[0] > 4:
            raise ValueError(
                f"GridMLP reads one real vector of at most 4 entries, and the data has shape "
                f"{spec.event_shape()}; use model: mlp"
            )
        self.spec, self.gate = spec, gate
        dims = spec.shape[0]
        self.grid = HashGrid(dims, levels, coarsest, finest, features, table)
        self.register_buffer("frequencies", torch.arange(1, 33) * (math.pi / 2))
        context = 64
        self.time = nn.Sequential(nn.Linear(65, context), nn.SiLU(), nn.Linear(context, context))
        self.condition = ConditionEmbedding(spec.conditions, context)
        self.mix = nn.Linear(context, width * depth)
        self.first = nn.Linear(dims + levels * features, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.out = nn.Linear(width, dims)

    def forward(self, x: State, t: Tensor, **cond: Tensor) -> Tensor:
        """Read points ``(batch, d)`` at times ``(batch,)``; see `flowloom.models.Model`."""
        assert isinstance(x, Tensor)
        left = 1 - t
        clock = (-(left + 1e-4).log() / math.log(1e4))[:, None]
        angle = clock * self.frequencies.to(clock.dtype)
        context = self.time(torch.cat([clock, angle.cos(), angle.sin()], 1)) + self.condition(cond, len(x))
        shifts = self.mix(nn.functional.silu(context)).chunk(len(self.inner) + 1, 1)
        weight = torch.exp(-self.gate * (left[:, None] * self.grid.cells).square())
        read = self.grid(x) * weight[..., None]
        hidden = nn.functional.silu(self.first(torch.cat([x, read.flatten(1)], 1)) + shifts[0])
        for layer, shift in zip(self.inner, shifts[1:], strict=True):
            hidden = hidden + nn.functional.silu(layer(hidden) + shift)
        return self.out(hidden)
