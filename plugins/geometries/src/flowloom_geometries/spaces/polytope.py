"""Convex polytopes given by inequalities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError
from flowloom.geometry import Euclidean
from flowloom.geometry.precision import apart_from_autocast


@apart_from_autocast
class Polytope(Euclidean):
    """The bounded set ``A x <= b`` with the flat metric.

    Volume and uniform points come from the vertices (qhull through scipy): the polytope is cut into
    simplices, one is chosen by volume, and a point is drawn in it. That is exact, and meant for up to
    about 8 dimensions.

    Args:
        normals: rows of A, ``(m, d)``; scaled to unit length.
        offsets: ``b``, ``(m,)``.

    Raises:
        DataError: the set is empty, flat, or unbounded.

    >>> triangle = Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1])
    >>> round(triangle.log_volume(), 4)
    -0.6931
    """

    convex = True
    defaults: ClassVar[Mapping[str, str]] = {"source": "uniform", "path": "affine"}
    point_ndim = 1

    def __init__(self, normals: Sequence[Sequence[float]], offsets: Sequence[float]) -> None:
        a = torch.tensor([[float(v) for v in row] for row in normals], dtype=torch.float64)
        b = torch.tensor([float(v) for v in offsets], dtype=torch.float64)
        if a.ndim != 2 or b.shape != a.shape[:1]:
            raise DataError(
                f"a polytope needs one offset a row, got normals {tuple(a.shape)}, offsets {tuple(b.shape)}"
            )
        self.point_shape = (a.shape[1],)
        length = a.norm(dim=1)
        if bool((length == 0).any()):
            raise DataError(f"row {int((length == 0).nonzero()[0])} of normals is zero")
        self.normals, self.offsets = a / length[:, None], b / length
        self.dim = a.shape[1]
        self._corners, self._volumes = self._triangulate()

    def project(self, x: Tensor) -> Tensor:
        r"""The nearest point; points inside stay as they are.

        Which faces it lies on is found exactly, row by row, as the non-negative least squares problem dual to
        :math:`\min |z|` with :math:`A(x + z) \le b` (Lawson and Hanson 1974, chapter 23); the point is then
        the orthogonal projection onto these faces, :math:`x - A_S^+(A_S x - b_S)`, and differentiable.
        """
        rows = x.reshape(-1, self.dim)
        with torch.no_grad():
            outside = (self.margin(rows) < 0).any(-1) & rows.isfinite().all(-1)
            touched = self._touched(rows[outside])
        if not len(touched):
            return x
        a, b = self._sides(x)
        # A row of zeros for every other face leaves the pseudo-inverse as it is.
        inverse = torch.linalg.pinv(touched[:, :, None] * a)
        nearest = rows[outside]
        # Twice: from far outside, the first time leaves a small difference of large numbers.
        for _ in range(2):
            over = touched * (nearest @ a.mT - b)
            nearest = nearest - (inverse @ over[..., None])[..., 0]
        return rows.masked_scatter(outside[:, None], nearest).reshape(x.shape)

    def _touched(self, outside: Tensor) -> Tensor:
        """Of the nearest point to every row outside, the faces that hold it back: ``(n, m)``, 0 or 1."""
        from scipy.optimize import nnls

        a = self.normals.numpy()
        goal = [0.0] * self.dim + [1.0]
        found = []
        for over in (outside.double().cpu() @ self.normals.mT - self.offsets).numpy():
            # Scaled, so that far points do not drown the faces' directions.
            multipliers, _ = nnls([*(-a.T), over / max(abs(over).max(), 1e-300)], goal)
            found.append(torch.from_numpy(multipliers > 0))
        return torch.stack(found).to(outside) if found else outside.new_zeros(0, len(a))

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The flat inner product."""
        return (u * v).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """The Euclidean distance."""
        return (y - x).norm(dim=-1)

    def margin(self, x: Tensor) -> Tensor:
        """Distance to every face, negative outside it: ``(..., m)``."""
        a, b = self._sides(x)
        return b - x @ a.mT

    def reach(self, x: Tensor) -> float:
        """Distance of one point ``(d,)`` to the corner that is farthest from it."""
        return float((self._corners.to(x) - x).norm(dim=-1).amax())

    def violation(self, x: Tensor) -> Tensor:
        """How far the worst face is overstepped."""
        over = (-self.margin(x)).amax(-1).clamp_min(0)
        over = torch.where(x.isfinite().all(-1), over, torch.inf)
        return over.flatten(1).amax(1) if over.ndim > 1 else over

    def log_volume(self) -> float:
        """Log of the sum of the simplices' volumes."""
        return math.log(float(self._volumes.sum()))

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Uniform points."""
        lead: tuple[int, ...] = tuple(shape[:-1])
        count = math.prod(lead)
        where = torch.device(draw.device) if draw.device is not None else None
        share = (self._volumes / self._volumes.sum()).to(where)
        chosen = torch.multinomial(share, count, replacement=True, generator=draw.generator)
        spacing = torch.rand(count, self.dim, generator=draw.generator, device=where, dtype=torch.float64)
        ordered = torch.cat(
            [spacing.new_zeros(count, 1), spacing.sort(1).values, spacing.new_ones(count, 1)], 1
        )
        points = torch.einsum("nk,nkd->nd", ordered.diff(dim=1), self._corners.to(where)[chosen])
        return points.to(draw.dtype or torch.get_default_dtype()).reshape(*lead, self.dim)

    def _sides(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.normals.to(like.device, like.dtype), self.offsets.to(like.device, like.dtype)

    def _triangulate(self) -> tuple[Tensor, Tensor]:
        import numpy as np
        from scipy.optimize import linprog
        from scipy.spatial import Delaunay, HalfspaceIntersection, QhullError

        a, b = self.normals.numpy(), self.offsets.numpy()
        # The centre of the largest ball inside: max r with A x + r <= b.
        cost = np.zeros(self.dim + 1)
        cost[-1] = -1
        wider = np.hstack([a, np.ones((len(a), 1))])
        found = linprog(cost, A_ub=wider, b_ub=b, bounds=[(None, None)] * self.dim + [(0, None)])
        bounds = [(None, None)] * self.dim
        bounded = all(
            linprog(sign * axis, A_ub=a, b_ub=b, bounds=bounds).status != 3
            for axis in np.eye(self.dim)
            for sign in (1.0, -1.0)
        )
        if found.status == 2:
            raise DataError("the polytope is empty: no point satisfies all inequalities")
        if not bounded or found.status == 3:
            raise DataError("the polytope is unbounded; add inequalities until it is closed")
        middle = np.asarray(found.x, dtype=np.float64)
        if middle[-1] < 1e-12:
            raise DataError("the polytope is flat: it has no interior in its space")
        if self.dim == 1:
            ends = torch.tensor([[[(b[a[:, 0] < 0] * -1).max()], [b[a[:, 0] > 0].min()]]])
            return ends, (ends[:, 1] - ends[:, 0])[:, 0]
        try:
            corners = HalfspaceIntersection(np.hstack([a, -b[:, None]]), middle[:-1]).intersections
            # The inner centre joins the corners, because qhull wants more points than one simplex has.
            corners = np.vstack([np.unique(corners.round(12), axis=0), middle[:-1]])
            cells = torch.from_numpy(corners[Delaunay(corners, qhull_options="QJ").simplices])
        except QhullError as error:
            raise DataError(
                f"qhull cannot find the polytope's corners: {str(error).splitlines()[0]}"
            ) from error
        volumes = torch.linalg.det(cells[:, 1:] - cells[:, :1]).abs() / math.factorial(self.dim)
        return cells, volumes

    def __repr__(self) -> str:
        return f"Polytope({len(self.offsets)} faces in {self.dim} dimensions)"
