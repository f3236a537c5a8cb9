"""Meshes made on the spot: a sphere, and a square with a wall."""

from __future__ import annotations

import torch
from torch import Tensor


def icosphere(subdivisions: int = 2) -> tuple[Tensor, Tensor]:
    """The unit sphere as a subdivided icosahedron: vertices ``(V, 3)`` and triangles ``(F, 3)``."""
    golden = (1 + 5**0.5) / 2
    corners = [(s * a, t * b, 0.0) for s in (1.0, -1.0) for t in (1.0, -1.0) for a, b in ((1.0, golden),)]
    points = [p[k:] + p[:k] for k in range(3) for p in corners]
    vertices = torch.tensor(points, dtype=torch.float64)
    edge = torch.cdist(vertices, vertices)
    near = (edge - 2).abs() < 1e-9
    faces = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    triangles = torch.tensor(faces)
    for _ in range(subdivisions):
        vertices, triangles = _subdivide(vertices, triangles)
    return vertices / vertices.norm(dim=1, keepdim=True), triangles


def walled_square(cells: int = 20, wall: float = 0.06, gap: float = 0.25) -> tuple[Tensor, Tensor]:
    """The unit square in the plane z = 0 with a vertical wall in the middle that leaves a gap at the top.

    Args:
        cells: along an edge.
        wall: its width.
        gap: height of the opening above it.
    """
    ticks = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(-1, 3)
    row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    a = (row * (cells + 1) + column).flatten()
    lower = torch.stack([a, a + 1, a + cells + 2], 1)
    upper = torch.stack([a, a + cells + 2, a + cells + 1], 1)
    triangles = torch.cat([lower, upper])
    middle = vertices[triangles].mean(1)
    solid = ((middle[:, 0] - 0.5).abs() < wall / 2 + 0.5 / cells) & (middle[:, 1] < 1 - gap)
    return compact(vertices, triangles[~solid])


def compact(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Drop vertices that no triangle uses."""
    used, renumbered = triangles.unique(return_inverse=True)
    return vertices[used], renumbered


def _subdivide(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    pairs = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(1).values
    edges, which = pairs.unique(dim=0, return_inverse=True)
    middle = vertices[edges].mean(1)
    middle = middle / middle.norm(dim=1, keepdim=True) * vertices.norm(dim=1).mean()
    ab, bc, ca = (which + len(vertices)).reshape(3, -1)
    a, b, c = triangles.unbind(1)
    faces = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return torch.cat([vertices, middle]), torch.cat([torch.stack(f, 1) for f in faces])
