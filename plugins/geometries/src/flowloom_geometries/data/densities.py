"""Densities on manifolds that are known in closed form."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_geometries.von_mises_fisher import draw_around, log_peak


class KnownDensity(Drawn):
    """``n`` draws of a density that can also be evaluated; other splits are other draws.

    Args:
        n: rows.
        seed: of the draws.
    """

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Points ``(n, d)``."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log density with respect to the volume of the space, ``(n,)``."""

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points without conditions."""
        return Examples(self.draw(n, generator))


class VonMisesFisherMixture(KnownDensity):
    r"""Clusters on S^2: :math:`\sum_k \frac1K \frac{\kappa}{4\pi\sinh\kappa} e^{\kappa \mu_k \cdot x}`.

    Args:
        means: directions; by default four clusters, two of them on either side of the south pole.
        concentration: :math:`\kappa`.
        n: rows.
        seed: of the draws.
    """

    def __init__(
        self,
        means: Sequence[Sequence[float]] = (
            (0.35, 0.0, -1.0),
            (-0.35, 0.0, -1.0),
            (1.0, 1.0, 0.5),
            (-0.5, 1.0, 1.0),
        ),
        concentration: float = 50.0,
        n: int = 20_000,
        seed: int = 0,
    ) -> None:
        super().__init__(n, seed)
        if concentration <= 0:
            raise DataError(f"concentration must be positive, got {concentration}")
        self.means, self.concentration = [tuple(map(float, m)) for m in means], concentration
        self._centres = torch.tensor(self.means, dtype=torch.float64)
        self._centres = self._centres / self._centres.norm(dim=1, keepdim=True)

    @property
    def spec(self) -> Spec:
        """Unit vectors ``(3,)``."""
        return Spec(shape=(3,))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Exact draws."""
        k = self.concentration
        centre = self._centres[torch.randint(len(self._centres), (n,), generator=generator)]
        sharpness = torch.full((n, 1), k, dtype=torch.float64)
        return draw_around(centre, sharpness, Draw(generator, dtype=torch.float64)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density per steradian."""
        k = self.concentration
        constant = float(log_peak(torch.tensor(k, dtype=torch.float64))) - math.log(len(self.means))
        return constant + torch.logsumexp(k * (x.double() @ self._centres.T.to(x.device) - 1), 1)


class WrappedNormalMixture(KnownDensity):
    r"""Clusters on the flat torus ``[0, 2 pi)^d``: normals of standard deviation ``std``, wrapped.

    Args:
        means: centres in radians; by default three clusters on the 2-torus, two of them across the seam,
            as torsion angles of RNA have them.
        std: of every coordinate.
        n: rows.
        seed: of the draws.
    """

    def __init__(
        self,
        means: Sequence[Sequence[float]] = ((0.1, 3.0), (6.1, 6.2), (2.5, 0.2)),
        std: float = 0.35,
        n: int = 20_000,
        seed: int = 0,
    ) -> None:
        super().__init__(n, seed)
        if not 0 < std < 2:
            raise DataError(f"std must lie in (0, 2), got {std}")
        self.means, self.std = [tuple(map(float, m)) for m in means], std

    @property
    def spec(self) -> Spec:
        """Angles ``(d,)`` in ``[0, 2 pi)``."""
        return Spec(shape=(len(self.means[0]),))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Exact draws."""
        centres = torch.tensor(self.means, dtype=torch.float64)
        chosen = centres[torch.randint(len(centres), (n,), generator=generator)]
        noise = torch.randn(chosen.shape, generator=generator, dtype=torch.float64)
        return torch.remainder(chosen + self.std * noise, 2 * math.pi).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density per unit of angle; five turns to either side are summed."""
        centres = torch.tensor(self.means, dtype=torch.float64, device=x.device)
        turns = 2 * math.pi * torch.arange(-5, 6, device=x.device)
        away = (x.double()[:, None, :, None] - centres[None, :, :, None] + turns) / self.std
        constant = -0.5 * math.log(2 * math.pi) - math.log(self.std)
        per_coordinate = torch.logsumexp(-0.5 * away.square(), -1) + constant
        return torch.logsumexp(per_coordinate.sum(-1), 1) - math.log(len(self.means))
