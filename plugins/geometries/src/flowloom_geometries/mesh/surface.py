"""A triangle mesh as a geometry with spectral distances."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm
from flowloom.geometry.precision import apart_from_autocast
from flowloom.state import expand
from flowloom_geometries.mesh.closest import Finder, search
from flowloom_geometries.mesh.laplacian import face_areas, spectrum
from flowloom_geometries.mesh.reading import read_mesh
from flowloom_geometries.mesh.shapes import icosphere, walled_square

Premetric = Literal["biharmonic", "diffusion"]
Shape = Literal[
    "icosphere", "icosphere-0", "icosphere-1", "icosphere-2", "icosphere-3", "icosphere-4", "walled-square"
]


@apart_from_autocast
class MeshSurface(Geometry):
    r"""A connected triangle mesh in R^3 with the metric of its faces and a spectral premetric.

    .. math:: d_w(x, y)^2 = \sum_{i=1}^k w(\lambda_i)\, (\phi_i(x) - \phi_i(y))^2

    over Laplace-Beltrami eigenpairs, with :math:`w = \lambda^{-2}` (biharmonic, Lipman, Rustamov and
    Funkhouser 2010) or :math:`w = e^{-2\tau\lambda}` (diffusion, Coifman and Lafon 2006), as Chen and Lipman
    use it (2302.03660). Eigenfunctions are linear on each face, so their gradients are constant there.
    Walls and holes are seen by this distance, unlike by the straight line.

    ``exp`` steps in the face's plane and returns to the closest point; ``log`` is a tangent of premetric
    length pointing down the premetric. They are *not* inverse to each other: a mesh has no closed-form
    geodesics. Train on it with ``path: premetric``.

    There are no likelihoods. Tangent planes turn at the edges, so a field that is smooth in space jumps
    there, and most of its divergence is a jump: that of the constant field ``(0, 0, 1)`` is 0 inside every
    face, however fine the mesh, and -2 z on the sphere. Where the two sides of an edge both lead onto it,
    mass gathers on the edge, and the law has no density at all.

    Args:
        file: an ``.obj`` or ``.off`` file, or ``icosphere`` for a sphere of 642 vertices
            (``icosphere-1`` of 42, ``icosphere-2`` of 162), or ``walled-square`` for a square with a wall.
        vertices: ``(V, 3)``, in place of a file.
        triangles: ``(F, 3)``, in place of a file.
        count: number of eigenpairs k.
        premetric: ``biharmonic`` or ``diffusion``.
        tau: diffusion time.
        normalize: centre the mesh on the origin and scale it so that its area is 1.

    Raises:
        DataError: the mesh is unreadable, has several components, or too few vertices for ``count``.
    """

    point_ndim = 1
    dim = 2
    defaults: ClassVar[Mapping[str, str]] = {"path": "premetric"}
    geodesic_distance = False

    def __init__(
        self,
        file: Shape | Path | None = None,
        *,
        vertices: Tensor | None = None,
        triangles: Tensor | None = None,
        count: int = 100,
        premetric: Premetric = "biharmonic",
        tau: float = 0.25,
        normalize: bool = True,
    ) -> None:
        level = re.fullmatch(r"icosphere(?:-([0-4]))?", str(file))
        if level is not None:
            vertices, triangles = icosphere(int(level[1] or 3))
        elif str(file) == "walled-square":
            vertices, triangles = walled_square()
        elif file is not None:
            vertices, triangles = read_mesh(file)
        if vertices is None or triangles is None:
            raise DataError("a mesh needs file:, or vertices and triangles")
        vertices = vertices.double()
        areas = face_areas(vertices, triangles)
        triangles = triangles[areas > 1e-12 * areas.max()]
        if normalize:
            middle = 0.5 * (vertices.amin(0) + vertices.amax(0))
            vertices = (vertices - middle) / areas.sum().sqrt()
        self.vertices, self.triangles = vertices, triangles
        self.areas = face_areas(vertices, triangles)
        self.premetric: Premetric = premetric
        values, functions = spectrum(vertices, triangles, count)
        weight = values.pow(-2) if premetric == "biharmonic" else torch.exp(-2 * tau * values)
        # The premetric is the Euclidean distance between these features.
        self.features = functions * weight.sqrt()
        self._finder = Finder(vertices, triangles)
        # The points that `project` gave last, their version, faces and coordinates: steps ask for them next.
        self._known: tuple[Tensor, int, Tensor, Tensor] | None = None
        corners = vertices[triangles]
        e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        normal = torch.linalg.cross(e1, e2)
        self.normals = normal / normal.norm(dim=1, keepdim=True)
        # Gradients of the barycentric coordinates, (F, 3, 3): row k is grad of corner k's hat function.
        area = normal.square().sum(1, keepdim=True)
        g1 = torch.linalg.cross(e2, normal) / area
        g2 = torch.linalg.cross(normal, e1) / area
        self._hats = torch.stack([-g1 - g2, g1, g2], 1)

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Closest face ``(n,)`` and barycentric coordinates ``(n, 3)`` of points ``(..., 3)``.

        The coordinates have the derivative of the closest point: along the face, along the edge where that
        is nearest, and 0 where a corner is.
        """
        flat = x.reshape(-1, 3)
        known = self._known
        if known is not None and known[0] is x and known[1] == x._version:
            face, weights = known[2:]
        else:
            face, weights = search(flat, self._finder)
        # A zero with a derivative, in either mode.
        moved = flat - flat.detach()
        slopes = self._slopes(face, weights, flat.detach())
        return face.to(x.device), weights.to(x.device, x.dtype) + (slopes * moved[:, None]).sum(2)

    def _slopes(self, face: Tensor, weights: Tensor, x: Tensor) -> Tensor:
        """Gradients of the coordinates of the closest point, ``(n, 3, 3)``: row k is that of corner k."""
        hats, normal = self._hats.to(x)[face], self.normals.to(x)[face]
        corners = self.vertices[self.triangles].to(x)[face]
        away = x - (weights[..., None] * corners).sum(1)
        beside = (away - (away * normal).sum(1, keepdim=True) * normal).norm(dim=1)
        # Points of an edge itself move along the face; those held at it from outside move along the edge.
        rounding = 64 * torch.finfo(x.dtype).eps * corners.abs().amax((1, 2))
        held = (weights <= 0) & (beside > rounding)[:, None]
        # Where corner k is held, the edge is the one opposite it, and gradients keep their part along it.
        opposite = corners.roll(-1, 1) - corners.roll(-2, 1)
        edge = (held[..., None] * opposite).sum(1)
        along = (
            (hats * edge[:, None]).sum(2, keepdim=True) * edge[:, None] / edge.square().sum(1)[:, None, None]
        )
        count = held.sum(1)[:, None, None]
        return torch.where(count == 0, hats, torch.where(count == 1, along, 0))

    def project(self, x: Tensor) -> Tensor:
        """The closest point, which moves with ``x`` in the plane of its face; see `locate`."""
        face, weights = self.locate(x)
        corners = self.vertices[self.triangles].to(x.device, x.dtype)[face]
        landed = (weights[..., None] * corners).sum(1).reshape(x.shape)
        self._known = (landed, landed._version, face, weights.detach())
        return landed

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Remove the component along the normal of the face."""
        normal = self._of_face(self.normals, x)
        return v - (v * normal).sum(-1, keepdim=True) * normal

    def embed(self, x: Tensor) -> Tensor:
        """Weighted eigenfunctions at points: ``(..., 3) -> (..., k)``; their distance is the premetric."""
        face, weights = self.locate(x)
        rows = self.features.to(x.device, x.dtype)[self.triangles.to(x.device)[face]]
        return (weights[..., None] * rows).sum(1).reshape(*x.shape[:-1], rows.shape[-1])

    def premetric_gradient(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        r"""The premetric to a point with features ``target`` and its gradient along the face.

        Args:
            x: points ``(..., 3)``.
            target: `embed` of the other end, ``(..., k)``.

        Returns:
            ``d`` of shape ``(..., 1)`` and ``grad_x d`` of shape ``(..., 3)``, which is 0 at ``d = 0``.
        """
        face, weights = self.locate(x)
        rows = self.features.to(x.device, x.dtype)[self.triangles.to(x.device)[face]]
        difference = (weights[..., None] * rows).sum(1) - target.reshape(len(rows), rows.shape[-1])
        d = safe_norm(difference)
        slope = torch.einsum("nck,nk->nc", rows, difference) / torch.where(d > 0, d, 1)
        hats = self._hats.to(x.device, x.dtype)[face]
        return d.reshape(*x.shape[:-1], 1), torch.einsum("nc,ncj->nj", slope, hats).reshape(x.shape)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Step in the plane of the face and return to the closest point (a retraction)."""
        return self.project(x + v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus the premetric's gradient, scaled to the premetric's length; see the class."""
        d, gradient = self.premetric_gradient(x, self.embed(y))
        size = safe_norm(gradient)
        return -d * gradient / torch.where(size > 0, size, 1)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The ambient inner product."""
        return (u * v).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """The premetric."""
        return safe_norm(self.embed(x) - self.embed(y)).squeeze(-1)

    def log_volume(self) -> float:
        """Log of the area."""
        return math.log(float(self.areas.sum()))

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """Refused, and with it every likelihood.

        Raises:
            IncompatibleError: always; see the class.
        """
        raise IncompatibleError(
            f"{self} has no likelihoods: fields jump at the edges of its faces, where mass gathers and no "
            "divergence says how much; score samples instead (metrics: [energy-distance]), or use geometry: "
            "sphere where the surface is one"
        )

    def violation(self, x: Tensor) -> Tensor:
        """Distance to the closest point."""
        finite = x.flatten(1).isfinite().all(1)
        safe = torch.where(expand(finite, x), x, 0)
        off = (self.project(safe) - safe).norm(dim=-1)
        off = off.flatten(1).amax(1) if off.ndim > 1 else off
        return torch.where(finite, off, torch.inf)

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Uniform by area: a face by its area, then a uniform point of it."""
        lead: tuple[int, ...] = tuple(shape[:-1])
        count = math.prod(lead)
        where = torch.device(draw.device) if draw.device is not None else None
        face = torch.multinomial(self.areas.to(where), count, replacement=True, generator=draw.generator)
        pair = torch.rand(count, 2, generator=draw.generator, device=where, dtype=torch.float64)
        root = pair[:, :1].sqrt()
        weights = torch.cat([1 - root, root * (1 - pair[:, 1:]), root * pair[:, 1:]], 1)
        corners = self.vertices[self.triangles].to(where)[face]
        points = (weights[..., None] * corners).sum(1)
        return points.to(draw.dtype or torch.get_default_dtype()).reshape(*lead, 3)

    def _of_face(self, table: Tensor, x: Tensor) -> Tensor:
        face, _ = self.locate(x)
        return table.to(x.device, x.dtype)[face].reshape(*x.shape[:-1], *table.shape[1:])

    def __getstate__(self) -> dict[str, Any]:
        """Without the points seen last, which may belong to a graph."""
        return {**self.__dict__, "_known": None}

    def __repr__(self) -> str:
        return (
            f"MeshSurface({len(self.vertices)} vertices, {len(self.triangles)} triangles, {self.premetric})"
        )
