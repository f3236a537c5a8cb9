"""Logarithms by shooting, for manifolds that have only an exponential."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.geometry import Geometry


def shoot(geometry: Geometry, x: Tensor, y: Tensor, iterations: int = 40) -> Tensor:
    r"""A tangent ``v`` at ``x`` with ``exp(x, v) = y``, shape and dtype of ``x``.

    Starts from the projected chord and repeats the damped Gauss-Newton step of Levenberg and Marquardt on
    the residual :math:`r(v) = y - \exp_x(v)`, in coordinates of an orthonormal basis of the tangent space,
    rows independent of each other. Rows left stranded (the chord to the opposite point has no tangent part)
    start again from up to three directions that are the same every time. It runs in float64 whatever the
    dtype of the points: differences and normal equations square away more digits than float32 has. Every
    step takes two exponentials for every dimension, so this is for small points.

    The result is differentiable in both modes by the implicit function theorem: at the solution

    .. math:: dv = d(P_x) v + J^+ \, d\big(y - \exp_x(P_x v)\big), \qquad J = \partial_v \exp_x(v),

    to first order; second derivatives are not those of the logarithm. Near conjugate points, where J loses
    rank, the derivative grows to some 1e6 and no further. Rows that do not
    converge (an end in another component, say) keep their best ``v``: no NaN and no error.

    Args:
        geometry: supplies ``project``, ``exp`` and ``to_tangent``.
        x: start, ``(..., *point)``.
        y: end, same shape.
        iterations: at most.
    """
    point = x.shape[x.ndim - geometry.point_ndim :]
    x64, y64 = (p.double().reshape(-1, *point) for p in (x, y))
    if not len(x64):
        return torch.zeros_like(x)
    # Points rounded to float32 lie beside the manifold, by more than the residual is to become.
    start, end = geometry.project(x64.detach()), geometry.project(y64.detach())
    basis = tangent_basis(geometry, start)
    v, jacobian = _restarted(geometry, start, end, basis, iterations)
    # The values of the projected points, with the graph of those given.
    a, b = x64 + (start - x64).detach(), y64 + (end - y64).detach()
    carried = geometry.to_tangent(a, v)
    missed = (b - geometry.exp(a, carried)).flatten(1)
    correction = _combine(basis, _damped(jacobian, missed, jacobian.new_full((len(start),), _LEAST)))
    slope = carried + correction
    return (v + (slope - slope.detach())).to(x.dtype).reshape(x.shape)


def tangent_basis(geometry: Geometry, x: Tensor) -> Tensor:
    """A basis of the tangent space at every point, orthonormal for Frobenius: ``(n, dim, *point)``."""
    size = math.prod(x.shape[1:])
    eye = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *x.shape[1:])
    images = torch.stack([geometry.to_tangent(x, e.expand_as(x)) for e in eye], 1).flatten(2)
    _, s, vh = torch.linalg.svd(images)
    rank = int((s[0] > 1e-4 * s[0, 0]).sum())
    return vh[:, :rank].reshape(len(x), rank, *x.shape[1:])


# Bounds of the damping, relative to the square of the largest stretch of the exponential.
_LEAST, _MOST = 1e-12, 1e6


def _restarted(
    geometry: Geometry, start: Tensor, end: Tensor, basis: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """The tangents found, ``(n, *point)``, and the Jacobians there, ``(n, m, dim)``; see `shoot`."""
    v, missed, jacobian = _search(geometry, start, end, basis, end - start, iterations)
    place = torch.arange(1, start[0].numel() + 1, dtype=v.dtype, device=v.device)
    for again in (1, 2, 3):
        rows = (missed.abs().amax(1) > 1e-7).nonzero()[:, 0]
        if not len(rows):
            break
        # Some fixed direction; of length 2, where most of what the chord misses lies.
        wave = torch.cos(again * place.square()).reshape(start.shape[1:])
        toward = geometry.to_tangent(start[rows], wave.expand_as(start[rows])).flatten(1)
        toward = 2 * toward / toward.norm(dim=1, keepdim=True).clamp_min(1e-6)
        found = _search(geometry, start[rows], end[rows], basis[rows], toward, iterations)
        closer = found[1].square().sum(1) < missed[rows].square().sum(1)
        taken = rows[closer]
        v = v.index_copy(0, taken, found[0][closer])
        missed = missed.index_copy(0, taken, found[1][closer])
        jacobian = jacobian.index_copy(0, taken, found[2][closer])
    return v, jacobian


def _search(
    geometry: Geometry, start: Tensor, end: Tensor, basis: Tensor, toward: Tensor, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The tangents found from the tangent part of ``toward``, what they miss, and the Jacobians there."""
    v = _combine(basis, torch.einsum("nkm,nm->nk", basis.flatten(2), toward.flatten(1)))
    missed = (end - geometry.exp(start, v)).flatten(1)
    jacobian = _jacobian(geometry, start, v, basis)
    damping = torch.full((len(start),), 1e-3, dtype=v.dtype, device=v.device)
    limit = 8 * torch.finfo(v.dtype).eps
    for _ in range(iterations):
        # Rows that have arrived, or no longer move, cost nothing more.
        rows = ((missed.abs().amax(1) > limit) & (damping < _MOST)).nonzero()[:, 0]
        if not len(rows):
            break
        step = _combine(basis[rows], _damped(jacobian[rows], missed[rows], damping[rows]))
        proposal = v[rows] + step
        after = (end[rows] - geometry.exp(start[rows], proposal)).flatten(1)
        better = after.square().sum(1) < missed[rows].square().sum(1)
        taken = rows[better]
        v = v.index_copy(0, taken, proposal[better])
        missed = missed.index_copy(0, taken, after[better])
        changed = torch.where(better, damping[rows] / 8, damping[rows] * 4).clamp(_LEAST, _MOST)
        damping = damping.index_copy(0, rows, changed)
        if len(taken):
            fresh = _jacobian(geometry, start[taken], v[taken], basis[taken])
            jacobian = jacobian.index_copy(0, taken, fresh)
    return v, missed, jacobian


def _damped(jacobian: Tensor, missed: Tensor, damping: Tensor) -> Tensor:
    """Solves ``(J'J + damping max diag(J'J)) c = J' r`` for every row: ``(n, dim)``."""
    normal = jacobian.mT @ jacobian
    scale = normal.diagonal(dim1=1, dim2=2).amax(1).clamp_min(torch.finfo(normal.dtype).tiny)
    eye = torch.eye(normal.shape[1], dtype=normal.dtype, device=normal.device)
    normal = normal + (damping * scale)[:, None, None] * eye
    right = jacobian.mT @ missed[..., None]
    # The unchecked solver: one bad row of a batch must not take the others down.
    return torch.linalg.solve_ex(normal, right)[0][..., 0]


def _combine(basis: Tensor, coefficients: Tensor) -> Tensor:
    """Tangents from their coordinates: ``(n, *point)``."""
    return torch.einsum("nkm,nk->nm", basis.flatten(2), coefficients).reshape(len(basis), *basis.shape[2:])


def _jacobian(geometry: Geometry, x: Tensor, v: Tensor, basis: Tensor) -> Tensor:
    """Central differences of ``exp(x, .)`` along the basis: ``(n, m, dim)``.

    Differences, because not every manifold is safe under jvp; all directions go through one call.
    """
    n, k = basis.shape[:2]
    step = torch.finfo(x.dtype).eps ** (1 / 3)
    base, around = (p[:, None].expand_as(basis).flatten(0, 1) for p in (x, v))
    direction = step * basis.flatten(0, 1)
    difference = geometry.exp(base, around + direction) - geometry.exp(base, around - direction)
    return (difference / (2 * step)).reshape(n, k, -1).mT
