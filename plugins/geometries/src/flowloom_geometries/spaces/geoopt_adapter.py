"""Any geoopt manifold as a geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm
from flowloom.geometry.precision import apart_from_autocast
from flowloom.state import Shape, expand
from flowloom_geometries.spaces.polar import polar_factor
from flowloom_geometries.spaces.shooting import shoot, tangent_basis


@apart_from_autocast
class GeooptGeometry(Geometry):
    """A `geoopt.Manifold` as a geometry; what the manifold lacks is filled in, and ``gaps`` says how.

    * No logarithm: found by shooting (see `flowloom_geometries.spaces.shooting`). Rows that do not
      converge raise no error and hold no NaN: ask ``residual``. A tangent found far away leads to its
      point, but another one may be shorter.
    * No distance: the length of the logarithm.
    * No generator in ``random``: geoopt draws from the global one, so it is run under a seed drawn from
      ours, and the global state is restored.
    * No uniform law: geoopt's is one on spheres; on Stiefel manifolds it favours some matrices, and the
      polar factor of a normal matrix is drawn instead. Elsewhere ``random`` is whatever the manifold draws,
      and ``log_volume``, whose only use is the density of the uniform law, is refused.
    * No volume: likelihoods under ``source: uniform`` need ``log_volume``, given here by hand.
    * Volume density of the coordinates: from the metric on an orthonormal basis of the tangent space.
      That is right where ``projx`` projects along Frobenius normals; where not (geoopt's ``Lorentz``),
      there is none, and likelihoods are refused.

    geoopt's closed forms work in the dtype they are given and several lose float32 accuracy near
    coincident points; ``flowloom check`` reports which laws an instance fails.

    Args:
        manifold: a geoopt manifold, or the name of one, as in ``geoopt.<name>``.
        arguments: of the manifold, where it is given by name.
        dim: intrinsic dimension of one point, where it is known.
        log_volume: log of the volume of one point's space, where it is known.
        iterations: of the shooting method.

    Raises:
        IncompatibleError: there is no such manifold, its points are complex, or ``log_volume`` is given
            where ``random`` is not known to be uniform.
    """

    def __init__(
        self,
        manifold: Any,
        arguments: Mapping[str, Any] | None = None,
        dim: int | None = None,
        log_volume: float | None = None,
        iterations: int = 40,
    ) -> None:
        import geoopt

        if isinstance(manifold, str):
            names = {n: v for n, v in vars(geoopt).items() if _is_manifold(v)}
            if manifold not in names:
                known = ", ".join(sorted(names))
                raise IncompatibleError(f"geoopt has no manifold '{manifold}'; it has: {known}")
            kind = names[manifold]
            manifold = kind(**dict(arguments or {}))
        if not isinstance(manifold, geoopt.Manifold):
            raise IncompatibleError(f"expected a geoopt.Manifold, got {type(manifold).__name__}")
        if isinstance(manifold, geoopt.manifolds.siegel.siegel.SiegelManifold):
            raise IncompatibleError(f"{manifold} has complex points, and geometries hold real tensors")
        self.manifold = manifold
        self.point_ndim = int(manifold.ndim)
        self.dim = dim
        self.iterations = iterations
        self._log_volume = log_volume
        self._oblique: bool | None = None
        self._dims: dict[tuple[int, ...], int] = {}
        self._orthonormal = isinstance(_unscaled(manifold), geoopt.Stiefel)
        self.gaps = dict(_gaps(manifold))
        if log_volume is not None and "uniform" in self.gaps:
            raise IncompatibleError(
                f"log_volume= is for the density of the uniform law, and {manifold} draws another one; "
                "give a source with a density of its own"
            )

    def project(self, x: Tensor) -> Tensor:
        """``projx``; the same polar factor on Stiefel manifolds, where geoopt's has a NaN for derivative."""
        return polar_factor(x) if self._orthonormal else self.manifold.projx(x)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``proju``; on Stiefel manifolds ``v - x sym(x'v)``, as geoopt's canonical one is no projection."""
        if self._orthonormal:
            inside = x.mT @ v
            return v - x @ (0.5 * (inside + inside.mT))
        # Some of geoopt's manifolds broadcast no points with one.
        return self.manifold.proju(x, v) if v.numel() else v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``expmap``, or ``retr`` where there is none."""
        return self.manifold.retr(x, v) if "exp" in self.gaps else self.manifold.expmap(x, v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``logmap``, or shooting where there is none."""
        if "log" not in self.gaps:
            return self.manifold.logmap(x, y)
        return shoot(self, x, y, self.iterations)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """How far ``exp(x, log(x, y))`` ends from ``y``, ``(batch,)``: the quality of a shot logarithm."""
        return (self.exp(x, self.log(x, y)) - y).flatten(1).abs().amax(1)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``inner``."""
        lead = x.shape[: x.ndim - self.point_ndim]
        kept = (*lead, *(1,) * self.point_ndim)
        # Manifolds disagree about which dimensions they keep unless asked to keep all.
        return self.manifold.inner(x, u, v, keepdim=True).expand(kept).reshape(lead)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``dist``, or the length of the logarithm."""
        return super().distance_point(x, y) if "distance" in self.gaps else self.manifold.dist(x, y)

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """The manifold's own law, or a uniform one (see the class), reproducible from ``generator``."""
        where = draw.generator.device if draw.generator is not None else torch.device("cpu")
        seed = int(torch.randint(2**62, (), generator=draw.generator, device=where))
        dtype = draw.dtype or torch.get_default_dtype()
        target = torch.device(draw.device) if draw.device is not None else torch.device("cpu")
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(seed)
            # No rotation changes the law of a normal matrix, nor therefore that of its polar factor; geoopt's
            # QR factor has the signs of LAPACK's convention.
            if self._orthonormal or "random" in self.gaps:
                return self.project(torch.randn(shape, dtype=dtype, device=target))
            try:
                drawn = self.manifold.random(shape, dtype=dtype, device=target)
            except ValueError:  # manifolds with parameters insist on the dtype of those
                drawn = self.manifold.random(shape, device=target)
        return drawn.as_subclass(Tensor).detach().to(dtype)

    def log_volume(self) -> float:
        """As given.

        Raises:
            NotImplementedError: none was given.
        """
        if self._log_volume is None and "uniform" in self.gaps:
            raise NotImplementedError(f"{self} has no uniform law; give a source with a density")
        if self._log_volume is None:
            raise NotImplementedError(f"{self} does not know its volume; give log_volume=")
        return self._log_volume

    def degrees_of_freedom(self, shape: Shape) -> int:
        """As given, or the rank of the tangent projection at a random point."""
        if self.dim is not None or isinstance(shape, dict):
            return super().degrees_of_freedom(shape)
        point = tuple(shape[len(shape) - self.point_ndim :])
        if point not in self._dims:
            x = self.random((1, *point), Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
            self._dims[point] = tangent_basis(self, x).shape[1]
        return self._dims[point] * self.points(shape)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        r"""Half the log of the ratio of two Gram determinants, of the metric and of the ambient product:

        .. math::
            \tfrac12 \log\det \langle P_x e_i, P_x e_j \rangle_x - \tfrac12 \log\det (P_x e_i \cdot P_x e_j)

        No choice of basis changes it. So the :math:`e_i` are held at what a decomposition finds at the value
        of x, and derivatives pass through the projector :math:`P_x` and the metric alone: the decomposition
        has none, its singular values being equal.

        Raises:
            IncompatibleError: ``projx`` does not project along Frobenius normals, so that the divergence in
                the ambient space, to which this belongs, is not that of the manifold.
        """
        if self._is_oblique(tuple(x.shape[x.ndim - self.point_ndim :])):
            raise IncompatibleError(
                f"{self} has no likelihoods: its projx is not along Frobenius normals, which the divergence "
                "needs; use geometry: lorentz for hyperbolic space, or write a geometry of its own"
            )
        if not x.numel():
            return x.new_zeros(x.shape[0])
        points = x.reshape(-1, *x.shape[x.ndim - self.point_ndim :])
        fixed = tangent_basis(self, points.detach())
        n, k = fixed.shape[:2]
        base = points[:, None].expand_as(fixed).flatten(0, 1)
        moved = self.to_tangent(base, fixed.flatten(0, 1))
        basis = moved.reshape(fixed.shape)
        rows = []
        for i in range(k):
            u = basis[:, i : i + 1].expand_as(basis).flatten(0, 1)
            rows.append(self.inner_point(base, u, moved).reshape(n, k))
        flat = basis.flatten(2)
        half = 0.5 * (torch.linalg.slogdet(torch.stack(rows, 1))[1] - torch.linalg.slogdet(flat @ flat.mT)[1])
        return half.reshape(x.shape[0], -1).sum(1)

    def violation(self, x: Tensor) -> Tensor:
        """Largest entry of ``projx(x) - x``."""
        finite = x.flatten(1).isfinite().all(1)
        rows = expand(finite, x)
        # Decompositions refuse NaN, so such rows are judged beside others that are fine.
        safe = torch.where(rows, x, torch.ones_like(x))
        off = (self.project(safe) - safe).flatten(1).abs().amax(1)
        return torch.where(finite & off.isfinite(), off, torch.inf)

    def _is_oblique(self, point: tuple[int, ...]) -> bool:
        """Whether the derivative of ``projx``, by differences, is not the orthogonal projector."""
        if self._oblique is None:
            x = self.random((1, *point), Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
            basis = tangent_basis(self, x)[0].flatten(1)
            size, h = x.numel(), 1e-5
            steps = h * torch.eye(size, dtype=x.dtype).reshape(size, *point)
            slopes = (self.project(x + steps) - self.project(x - steps)).flatten(1) / (2 * h)
            self._oblique = bool((slopes - basis.T @ basis).abs().max() > 1e-4)
        return self._oblique

    def __repr__(self) -> str:
        return f"GeooptGeometry({self.manifold})"


@apart_from_autocast
class Stiefel(GeooptGeometry):
    r"""Matrices of orthonormal columns with the Euclidean metric (geoopt's ``EuclideanStiefelExact``).

    The exponential is geoopt's (a matrix exponential); the logarithm is found by shooting, which costs some
    hundred exponentials. The injectivity radius is :math:`\pi` (2405.02268), so a logarithm
    shorter than that is the shortest, and its derivatives are those of the true one. Longer ones lead to
    their point, but another may be shorter. Square matrices of opposite determinants are joined by no
    geodesic: the logarithm is then the best that was found. None of these raise an error or hold a NaN; ask
    ``residual`` what was reached.

    Args:
        rows: n of the matrices ``(n, k)``, where it is to be fixed; data of another shape is then refused.
        columns: k, given together with ``rows``, at most as many.
        iterations: of the shooting method.
    """

    def __init__(self, rows: int | None = None, columns: int | None = None, iterations: int = 40) -> None:
        super().__init__("EuclideanStiefelExact", iterations=iterations)
        if (rows is None) != (columns is None):
            raise ValueError(f"give rows and columns together, got rows={rows} and columns={columns}")
        if rows is not None and columns is not None:
            if not 1 <= columns <= rows:
                raise ValueError(f"columns must be from 1 to rows, got {columns} columns of {rows} rows")
            self.point_shape = (rows, columns)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """Length of the logarithm."""
        return safe_norm(self.log(x, y).flatten(-2)).squeeze(-1)

    def log_uniform(self, shape: Shape) -> float:
        r"""Minus the log of the volume, which depends on the shape ``(n, k)``:

        .. math::
            2^{k (k - 1) / 4} \prod_{i = n - k + 1}^n |S^{i-1}|, \quad |S^{i-1}| = 2 \pi^{i/2} / \Gamma(i/2)

        one sphere a column, and :math:`\sqrt 2` for every plane that two columns span and may turn in.
        """
        if isinstance(shape, dict) or self._log_volume is not None:
            return super().log_uniform(shape)
        n, k = shape[-2:]
        spheres = (
            math.log(2) + 0.5 * i * math.log(math.pi) - math.lgamma(0.5 * i) for i in range(n - k + 1, n + 1)
        )
        return -self.points(shape) * (0.25 * k * (k - 1) * math.log(2) + math.fsum(spheres))

    def __repr__(self) -> str:
        return f"Stiefel{self.point_shape or ()}"


def _gaps(manifold: Any) -> list[tuple[str, str]]:
    import geoopt

    manifold = _unscaled(manifold)
    base = geoopt.Manifold
    kind = type(manifold)

    def inherited(name: str) -> bool:
        return getattr(kind, name) is getattr(base, name)

    found = []
    # A class may define one of the two and alias the other; the function keeps the name it was born with.
    if inherited("expmap") or kind.expmap.__name__ == "retr" or _refuses(kind.expmap):
        found.append(("exp", "no exponential: retr stands in, so geodesics are those of the retraction"))
    if inherited("logmap") or _refuses(kind.logmap):
        found.append(("log", "no logarithm: found by shooting"))
    if inherited("dist"):
        found.append(("distance", "no distance: length of the logarithm"))
    if inherited("random"):
        found.append(("random", "no random law: a projected normal"))
    if not isinstance(manifold, geoopt.Stiefel) and not _draws_uniformly(manifold):
        found.append(("uniform", "random is not the uniform law: no density under source: uniform"))
    return found


def _unscaled(manifold: Any) -> Any:
    """What a ``geoopt.Scaled`` scales: its points, tangents and laws are the same."""
    import geoopt

    while isinstance(manifold, geoopt.Scaled):
        manifold = manifold.base
    return manifold


def _draws_uniformly(manifold: Any) -> bool:
    """Whether geoopt's ``random`` is the uniform law of a compact space: spheres, and products of such."""
    import geoopt

    manifold = _unscaled(manifold)
    if isinstance(manifold, geoopt.ProductManifold):
        return all(_draws_uniformly(part) for part in manifold.manifolds)
    return isinstance(manifold, geoopt.Sphere)


def _is_manifold(thing: Any) -> bool:
    import geoopt

    return isinstance(thing, type) and issubclass(thing, geoopt.Manifold)


def _refuses(method: Any) -> bool:
    """Whether a method does nothing but raise NotImplementedError."""
    code = getattr(method, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)
