"""The closest point of a triangle mesh."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def closest_on_triangles(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Barycentric coordinates of the point of triangle ``(a, b, c)`` nearest to ``x``.

    All of shape ``(..., 3)``; degenerate triangles are treated as their edges.

    The plane's projection where it falls inside; else the best of the three edges.
    """
    ab, ac, ax = b - a, c - a, x - a
    d11, d12, d22 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    p1, p2 = (ax * ab).sum(-1), (ax * ac).sum(-1)
    det = d11 * d22 - d12 * d12
    safe = torch.where(det > 0, det, 1)
    v, w = (d22 * p1 - d12 * p2) / safe, (d11 * p2 - d12 * p1) / safe
    inside = (det > 0) & (v >= 0) & (w >= 0) & (v + w <= 1)

    def along(direction: Tensor, offset: Tensor) -> Tensor:
        length = (direction * direction).sum(-1)
        share = (offset * direction).sum(-1) / torch.where(length > 0, length, 1)
        return share.clamp(0, 1)

    s, zero = along(ab, ax), torch.zeros_like(v)
    u, r = along(ac, ax), along(c - b, x - b)
    edges = torch.stack(
        [
            torch.stack([1 - s, s, zero], -1),
            torch.stack([1 - u, zero, u], -1),
            torch.stack([zero, 1 - r, r], -1),
        ]
    )
    corners = torch.stack([a, b, c], -2)
    points = (edges[..., None] * corners).sum(-2)
    nearest = (points - x).square().sum(-1).argmin(0)
    edge = torch.take_along_dim(edges, nearest[None, ..., None], 0).squeeze(0)
    return torch.where(inside[..., None], torch.stack([1 - v - w, v, w], -1), edge)


def pieces(corners: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Cut triangles in two, at the middle of their longest edge, until all fit ``radius`` round their centre.

    Args:
        corners: ``(F, 3, 3)``.
        radius: largest distance of a corner from the centre.

    Returns:
        Centres ``(P, 3)`` of the pieces and the triangle ``(P,)`` that each is from.
    """
    face = torch.arange(len(corners))
    centres, origins = [], []
    while len(corners):
        middle = corners.mean(1)
        large = (corners - middle[:, None]).norm(dim=-1).amax(1) > radius
        centres.append(middle[~large])
        origins.append(face[~large])
        corners, face = corners[large], face[large]
        # Turn each triangle so that its longest edge comes first.
        longest = (corners - corners.roll(-1, 1)).norm(dim=-1).argmax(1)
        turned = (longest[:, None] + torch.arange(3)) % 3
        a, b, c = torch.take_along_dim(corners, turned[..., None], 1).unbind(1)
        half = 0.5 * (a + b)
        corners = torch.cat([torch.stack([a, half, c], 1), torch.stack([half, b, c], 1)])
        face = face.repeat(2)
    return torch.cat(centres), torch.cat(origins)


class Finder:
    """Finds the closest face for batches of points, among the faces around the nearest centres.

    A k-d tree over the centres of `pieces` of about the median size proposes ``candidates`` of them; the
    bound by their radius tells which points need a wider search, and those get one. Whole faces would do on
    even meshes, but a few large ones among many small would widen the search of every point.

    Args:
        vertices: ``(V, 3)``.
        triangles: ``(F, 3)``.
        candidates: pieces examined at first.
    """

    def __init__(self, vertices: Tensor, triangles: Tensor, candidates: int = 16) -> None:
        from scipy.spatial import cKDTree

        self.corners = vertices.double()[triangles]
        spread = (self.corners - self.corners.mean(1, keepdim=True)).norm(dim=-1).amax(1)
        # No smaller than a tenth of the largest, to bound the number of pieces.
        self.radius = max(float(spread.median()), 0.1 * float(spread.max())) * (1 + 1e-9)
        centres, self.origin = pieces(self.corners, self.radius)
        self.tree = cKDTree(centres.numpy())
        self.candidates = min(candidates, len(centres))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Face indices ``(n,)`` and barycentric coordinates ``(n, 3)`` of the points nearest to ``x``."""
        x = x.detach().double().cpu()
        size, most = self.candidates, len(self.origin)
        face, weights = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x), 3, dtype=torch.float64)
        open_rows = torch.arange(len(x))
        while len(open_rows):
            found = self.tree.query(x[open_rows].numpy(), k=size)
            reach = torch.as_tensor(found[0]).reshape(len(open_rows), size)
            near = self.origin[torch.as_tensor(found[1]).long().reshape(len(open_rows), size)]
            corners = self.corners[near]
            bary = closest_on_triangles(x[open_rows, None], *corners.unbind(2))
            gap = ((bary[..., None] * corners).sum(2) - x[open_rows, None]).norm(dim=-1)
            best, which = gap.min(1)
            face[open_rows] = near.gather(1, which[:, None])[:, 0]
            weights[open_rows] = bary[torch.arange(len(which)), which]
            # A piece not examined has its centre beyond `reach`, and no point nearer than reach - radius.
            unsure = best > reach[:, -1] - self.radius
            if size >= most:
                break
            open_rows, size = open_rows[unsure], min(4 * size, most)
        return face, weights


def search(x: Tensor, finder: Finder) -> tuple[Tensor, Tensor]:
    """What ``finder`` says of points ``(n, 3)``, in their dtype and without derivatives.

    The transforms of ``torch.func`` see through it: inside them tensors have no numbers for a k-d tree to
    read, and what reaches ``forward`` below has.
    """
    face, weights = _Search.apply(x.detach(), finder)  # type: ignore[no-untyped-call]
    return face, weights


class _Search(Function):
    @staticmethod
    def forward(x: Tensor, finder: Finder) -> tuple[Tensor, Tensor]:
        face, weights = finder(x)
        return face.to(x.device), weights.to(x.device, x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, finder: Finder) -> tuple[Any, Any]:
        # All the points in one search.
        x = x.movedim(in_dims[0] or 0, 0)
        face, weights = search(x.flatten(0, 1), finder)
        return (face.unflatten(0, x.shape[:2]), weights.unflatten(0, x.shape[:2])), (0, 0)
