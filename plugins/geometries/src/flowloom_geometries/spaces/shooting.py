"""Logarithms by shooting, for manifolds that have only an exponential."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.geometry import Geometry


def shoot(geometry: Geometry, x: Tensor, y: Tensor, iterations: int = 100) -> Tensor:
    """A tangent ``v`` at ``x`` with ``exp(x, v) = y``, shape of ``x``.

    Starts from the projected chord and repeats the damped Gauss-Newton step of Levenberg and Marquardt on
    the residual ``y - exp(x, v)``, rows independent of each other. Derivatives of the exponential are taken
    along every ambient coordinate, so this is for small points. The result is differentiable: one last
    plain step ``v + P_x(y - exp(x, v))`` carries the first-order dependence near coincident points.

    Args:
        geometry: supplies ``exp`` and ``to_tangent``.
        x: start, ``(..., *point)``.
        y: end, same shape.
        iterations: at most.
    """
    shape = x.shape
    start = x.detach().reshape(-1, *shape[x.ndim - geometry.point_ndim :])
    end = y.detach().reshape(start.shape)
    v = geometry.to_tangent(start, end - start)
    size = start[0].numel()
    damping = torch.full((len(start), 1, 1), 1e-3, dtype=x.dtype, device=x.device)
    eye = torch.eye(size, dtype=x.dtype, device=x.device)
    limit = 8 * torch.finfo(x.dtype).eps
    missed = (end - geometry.exp(start, v)).flatten(1)
    for _ in range(iterations):
        if not len(start) or float(missed.abs().max()) < limit:
            break
        jacobian = _jacobian(geometry, start, v, eye)
        normal = jacobian.mT @ jacobian + damping * eye
        step = torch.linalg.solve(normal, jacobian.mT @ missed[..., None])[..., 0]
        proposal = v + geometry.to_tangent(start, step.reshape(start.shape))
        after = (end - geometry.exp(start, proposal)).flatten(1)
        better = after.square().sum(1) < missed.square().sum(1)
        rows = better.reshape(-1, *(1,) * (v.ndim - 1))
        v, missed = torch.where(rows, proposal, v), torch.where(better[:, None], after, missed)
        damping = torch.where(better[:, None, None], damping / 8, damping * 4).clamp(1e-12, 1e6)
        if not bool(better.any()) and float(damping.min()) > 1e4:
            break
    v = v.reshape(shape)
    if not (x.requires_grad or y.requires_grad):
        return v
    return v + geometry.to_tangent(x, y - geometry.exp(x, v))


def _jacobian(geometry: Geometry, x: Tensor, v: Tensor, eye: Tensor) -> Tensor:
    """Central differences of ``exp(x, .)`` along every ambient coordinate, made tangent: ``(n, m, m)``.

    Normal directions become zero columns. Differences, because not every manifold is safe under jvp; all
    directions go through one call.
    """
    m, n = len(eye), len(x)
    step = torch.finfo(x.dtype).eps ** (1 / 3)
    base = x.repeat(m, *(1,) * (x.ndim - 1))
    ambient = eye.reshape(m, 1, *x.shape[1:]).expand(m, *x.shape).reshape(base.shape)
    direction = step * geometry.to_tangent(base, ambient)
    around = v.repeat(m, *(1,) * (v.ndim - 1))
    difference = geometry.exp(base, around + direction) - geometry.exp(base, around - direction)
    return (difference / (2 * step)).reshape(m, n, m).permute(1, 2, 0)
