"""The cotangent Laplacian of a triangle mesh and its lowest eigenpairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError


def face_areas(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area of every triangle, ``(F,)``."""
    a, b, c = vertices[triangles].unbind(1)
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1)


def cotangent_laplacian(vertices: Tensor, triangles: Tensor) -> tuple[Any, Any]:
    r"""Stiffness and lumped mass matrices (scipy sparse, ``(V, V)``).

    :math:`S_{ij} = -\frac12 (\cot\alpha_{ij} + \cot\beta_{ij})` for edges, rows summing to 0 (Pinkall and
    Polthier 1993); a boundary edge has one such angle, which is the Neumann condition. The mass of a
    vertex is a third of the area of its triangles.
    """
    from scipy import sparse

    v, f = vertices.double().numpy(), triangles.numpy()
    n = len(v)
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, apex = f[:, (k + 1) % 3], f[:, (k + 2) % 3], f[:, k]
        e1, e2 = v[i] - v[apex], v[j] - v[apex]
        cross = np.linalg.norm(np.cross(e1, e2), axis=1)
        cotangent = (e1 * e2).sum(1) / np.maximum(cross, 1e-300)
        rows += [i, j]
        columns += [j, i]
        values += [-0.5 * cotangent, -0.5 * cotangent]
    off = sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)
    ).tocsr()
    stiffness = off - sparse.diags(np.asarray(off.sum(1)).ravel())
    third = face_areas(vertices.double(), triangles).numpy() / 3
    mass = np.bincount(f.ravel(), weights=np.repeat(third, 3), minlength=n)
    return stiffness, sparse.diags(mass)


def spectrum(vertices: Tensor, triangles: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The lowest ``count`` nonzero eigenvalues ``(k,)`` and eigenfunctions ``(V, k)`` of the Laplacian.

    Eigenfunctions are orthonormal in the mass matrix; the constant one is left out.

    Raises:
        DataError: the mesh has several components, unused vertices, or fewer vertices than asked for.
    """
    from scipy.sparse.linalg import eigsh

    n = len(vertices)
    if count + 1 >= n:
        raise DataError(f"{count} eigenpairs were asked of a mesh of {n} vertices; take fewer")
    used = torch.zeros(n, dtype=torch.bool)
    used[triangles.flatten()] = True
    if not bool(used.all()):
        raise DataError(f"vertex {int((~used).nonzero()[0])} belongs to no triangle")
    stiffness, mass = cotangent_laplacian(vertices, triangles)
    scale = float(mass.diagonal().sum())
    start = np.random.default_rng(0).standard_normal(n)
    # Shift-invert just below 0: the matrix is then positive definite and the wanted end converges first.
    values, functions = eigsh(stiffness, count + 1, mass, sigma=-1e-2 / scale, which="LM", v0=start)
    if count >= 1 and values[1] < 1e-9 / scale:
        raise DataError("the mesh has more than one connected component; spectral distances need one")
    return torch.from_numpy(values[1:].copy()), torch.from_numpy(functions[:, 1:].copy())
