"""Any geoopt manifold as a geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm
from flowloom.state import Shape
from flowloom_geometries.spaces.shooting import shoot


class GeooptGeometry(Geometry):
    """A `geoopt.Manifold` as a geometry; what the manifold lacks is filled in, and ``gaps`` says how.

    * No logarithm: found by shooting (see `flowloom_geometries.spaces.shooting`). Rows that do not
      converge raise no error: ask ``residual``. A tangent found far away leads to its point, but another
      one may be shorter.
    * No distance: the length of the logarithm.
    * No generator in ``random``: geoopt draws from the global one, so it is run under a seed drawn from
      ours, and the global state is restored.
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
        self.gaps = dict(_gaps(manifold))

    def project(self, x: Tensor) -> Tensor:
        """``projx``."""
        return self.manifold.projx(x)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``proju``."""
        return self.manifold.proju(x, v)

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

    def random(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The manifold's own law (``random``), reproducible from ``generator``."""
        where = generator.device if generator is not None else torch.device("cpu")
        seed = int(torch.randint(2**62, (), generator=generator, device=where))
        dtype = dtype or torch.get_default_dtype()
        target = torch.device(device) if device is not None else torch.device("cpu")
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(seed)
            if "random" in self.gaps:
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
        if self._log_volume is None:
            raise NotImplementedError(f"{self} does not know its volume; give log_volume=")
        return self._log_volume

    def degrees_of_freedom(self, shape: Shape) -> int:
        """As given, or the rank of the tangent projection at a random point."""
        if self.dim is None:
            point = tuple(shape)[len(shape) - self.point_ndim :]
            x = self.random((1, *point), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            self.dim = self._basis(x).shape[1]
        return super().degrees_of_freedom(shape)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``log det(G) / 2`` with G the metric on an orthonormal basis of each tangent space.

        Raises:
            IncompatibleError: ``projx`` does not project along Frobenius normals, so that the divergence in
                the ambient space, to which this belongs, is not that of the manifold.
        """
        if self._is_oblique(tuple(x.shape[x.ndim - self.point_ndim :])):
            raise IncompatibleError(
                f"{self} has no likelihoods: its projx is not along Frobenius normals, which the divergence "
                "needs; use geometry: lorentz for hyperbolic space, or write a geometry of its own"
            )
        points = x.reshape(-1, *x.shape[x.ndim - self.point_ndim :])
        basis = self._basis(points)
        n, k = basis.shape[:2]
        base = points[:, None].expand(n, k, *points.shape[1:]).flatten(0, 1)
        rows = []
        for i in range(k):
            u = basis[:, i : i + 1].expand_as(basis).flatten(0, 1)
            rows.append(self.inner_point(base, u, basis.flatten(0, 1)).reshape(n, k))
        half = 0.5 * torch.linalg.slogdet(torch.stack(rows, 1))[1]
        return half.reshape(x.shape[0], -1).sum(1)

    def violation(self, x: Tensor) -> Tensor:
        """Largest entry of ``projx(x) - x``."""
        finite = x.flatten(1).isfinite().all(1)
        rows = finite.reshape(-1, *(1,) * (x.ndim - 1))
        # Decompositions refuse NaN, so such rows are judged beside others that are fine.
        safe = torch.where(rows, x, torch.ones_like(x))
        off = (self.project(safe) - safe).flatten(1).abs().amax(1)
        return torch.where(finite & off.isfinite(), off, torch.inf)

    def _is_oblique(self, point: tuple[int, ...]) -> bool:
        """Whether the derivative of ``projx``, by differences, is not the orthogonal projector."""
        if self._oblique is None:
            x = self.random((1, *point), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            basis = self._basis(x)[0].flatten(1)
            size, h = x.numel(), 1e-5
            steps = h * torch.eye(size, dtype=x.dtype).reshape(size, *point)
            slopes = (self.project(x + steps) - self.project(x - steps)).flatten(1) / (2 * h)
            self._oblique = bool((slopes - basis.T @ basis).abs().max() > 1e-4)
        return self._oblique

    def _basis(self, x: Tensor) -> Tensor:
        """An orthonormal basis of the tangent space at every point: ``(n, dim, *point)``."""
        size = x[0].numel()
        eye = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *x.shape[1:])
        images = torch.stack([self.to_tangent(x, e.expand_as(x)) for e in eye], 1).flatten(2)
        _, s, vh = torch.linalg.svd(images)
        rank = int((s[0] > 1e-4 * s[0, 0]).sum())
        return vh[:, :rank].reshape(len(x), rank, *x.shape[1:])

    def __repr__(self) -> str:
        return f"GeooptGeometry({self.manifold})"


class Stiefel(GeooptGeometry):
    """Matrices of orthonormal columns with the Euclidean metric (geoopt's ``EuclideanStiefelExact``).

    The exponential is geoopt's (a matrix exponential); the logarithm is found by shooting, which costs some
    hundred exponentials and gives a geodesic to the other end that need not be the shortest one.

    Args:
        iterations: of the shooting method.
    """

    def __init__(self, iterations: int = 40) -> None:
        super().__init__("EuclideanStiefelExact", iterations=iterations)

    def project(self, x: Tensor) -> Tensor:
        """The polar factor, with a derivative that geoopt's SVD does not have on the manifold itself."""
        from flowloom_geometries.spaces.polar import polar_factor

        return polar_factor(x)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """Length of the logarithm."""
        return safe_norm(self.log(x, y).flatten(-2)).squeeze(-1)

    def __repr__(self) -> str:
        return "Stiefel()"


def _gaps(manifold: Any) -> list[tuple[str, str]]:
    import geoopt

    while isinstance(manifold, geoopt.Scaled):
        manifold = manifold.base
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
    return found


def _is_manifold(thing: Any) -> bool:
    import geoopt

    return isinstance(thing, type) and issubclass(thing, geoopt.Manifold)


def _refuses(method: Any) -> bool:
    """Whether a method does nothing but raise NotImplementedError."""
    code = getattr(method, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)
