"""Mirror maps: a polytope as all of R^n, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.codecs import StateCodec
from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Spec
from flowloom_geometries.spaces import Polytope


class MirrorMap(StateCodec):
    r"""Points of a polytope :math:`a_i \cdot x < b_i` by the gradient of a barrier (2510.08929).

    .. math:: y = \nabla\phi(x) = \sum_i a_i\,(b_i - a_i \cdot x)^{-\kappa} + \rho\,x

    is a bijection onto :math:`R^n`, so an unconstrained flow of y never leaves the set: no sample is
    infeasible. The log barrier (:math:`\kappa = 1,\ \rho = 0`) sends a density that does not vanish at a
    wall to tails of index 1, without a mean, for which flow matching has no finite loss. With
    :math:`\kappa < 1` the index is
    :math:`1 / \kappa`, and moments below it are finite; :math:`\rho > 0` makes :math:`\phi` strongly
    convex and so the inverse Lipschitz. A Student-t source with :math:`\nu = 1 / \kappa`
    (``poisson-kernel`` with ``extra_dims``
    :math:`\nu`, ``sigma`` 1: they are one law) has tails of the same index.

    The paper's text was not at hand when this was written: the power law is a map with the properties that
    its abstract states. The inverse minimises :math:`\phi(x) - x \cdot y` by Newton's method in float64,
    whose steps go at most 0.9 of the way to the nearest wall.

    Args:
        spec: of the data, points ``(n,)``; injected from the recipe.
        domain: the set.
        kappa: :math:`\kappa` in (0, 1].
        ridge: :math:`\rho`, not negative.
        iterations: of Newton's method.

    Raises:
        IncompatibleError: data are no points of the set's space.
    """

    centre: Tensor

    def __init__(
        self, spec: Spec, domain: Polytope, kappa: float = 0.3, ridge: float = 1.0, iterations: int = 60
    ) -> None:
        super().__init__(spec)
        if not 0 < kappa <= 1 or ridge < 0 or iterations < 1:
            raise ValueError(
                f"kappa in (0, 1], ridge from 0 and iterations from 1: {kappa}, {ridge}, {iterations}"
            )
        if spec.parts or spec.vocab is not None or tuple(spec.shape) != domain.point_shape:
            raise IncompatibleError(f"codec mirror takes points {domain.point_shape} of {domain}")
        self.domain, self.kappa, self.ridge, self.iterations = domain, kappa, ridge, iterations
        inside = domain.random(
            (256, domain.dim), Draw(torch.Generator().manual_seed(0), "cpu", torch.float64)
        )
        self.register_buffer("centre", inside.mean(0))
        reach = domain.reach(self.centre)
        self._size = float(self.centre.norm()) + reach
        # Nearer than 1e-6 to a wall doubles hold no Hessian.
        self._farthest = 1e-6**-kappa + ridge * reach

    def encode_state(self, x: Tensor) -> Tensor:
        """The gradient of the barrier; points on a wall count as just inside it.

        Raises:
            DataError: a point lies outside the set.
            IncompatibleError: as `decode_state`.
        """
        if bool((self.domain.violation(x.double()) > max(1e-4, self._grain(x.dtype))).any()):
            raise DataError(f"codec mirror: a point lies outside {self.domain}")
        return self._gradient(self._inside(x.double())).to(x)

    def decode_state(self, x: Tensor) -> Tensor:
        """The point whose gradient is ``x``, strictly inside in the precision of ``x``.

        Raises:
            IncompatibleError: in that precision the set has no inside (a narrow one far from the origin).
        """
        grain = self._grain(x.dtype)
        y = x.double()
        middle = self.ridge * self.centre.to(y)
        away = y - middle
        y = middle + away * (self._farthest / away.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
        a, _ = self._faces(y)
        point = self.centre.to(y).expand(y.shape)
        for _ in range(self.iterations):
            step = torch.linalg.solve(self._hessian(point), y - self._gradient(point))
            # The share of its distance to each wall that a step covers.
            toward = (step @ a.mT / self.domain.margin(point)).amax(-1, keepdim=True)
            point = point + step * (0.9 / toward.clamp_min(0.9))
        return self._inside(point, grain).to(x)

    def log_det(self, examples: Examples) -> Tensor | None:
        """Log determinant of the barrier's Hessian, ``(batch,)``."""
        x = examples.x
        assert isinstance(x, Tensor)
        found: Tensor = torch.linalg.slogdet(self._hessian(self._inside(x.double()))).logabsdet.to(x)
        return found

    def _grain(self, dtype: torch.dtype) -> float:
        """How near to a wall a point of the set can be told from one on it, after rounding."""
        grain = (2 + self.domain.dim) * torch.finfo(dtype).eps * self._size
        if grain >= float(self.domain.margin(self.centre).amin()) or self._size > torch.finfo(dtype).max:
            raise IncompatibleError(
                f"codec mirror: {str(dtype).removeprefix('torch.')} holds no point strictly inside "
                f"{self.domain}, which reaches {self._size:.3g} from the origin; take float32 or float64, or "
                "move and scale the data"
            )
        return grain

    def _inside(self, x: Tensor, grain: float = 0.0) -> Tensor:
        """``x``, or where its ray from the centre is still 2e-6, or the grain, before the walls."""
        centre, (a, _) = self.centre.to(x), self._faces(x)
        way = (x - centre) @ a.mT
        share = (self.domain.margin(centre) - max(2e-6, grain)) / way.clamp_min(1e-9)
        share = share.amin(-1, keepdim=True)
        return torch.where(share < 1, centre + share * (x - centre), x)

    def _gradient(self, x: Tensor) -> Tensor:
        a, _ = self._faces(x)
        return self.domain.margin(x).pow(-self.kappa) @ a + self.ridge * x

    def _hessian(self, x: Tensor) -> Tensor:
        a, eye = self._faces(x)
        bend = self.kappa * self.domain.margin(x).pow(-self.kappa - 1)
        return torch.einsum("nf,fi,fj->nij", bend, a, a) + self.ridge * eye

    def _faces(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.domain.normals.to(like), torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
