"""The stage that bends ways: least kinetic energy under a metric that the data give."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import nnls
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath
from flowloom.sources import Source
from flowloom.spec import Condition, Spec
from flowloom.state import expand
from flowloom_trajectories.metric_flow.path import bent

__all__ = ["GeodesicEnergy", "LandGeodesics", "RbfGeodesics"]


class GeodesicEnergy(Objective):
    r"""Kinetic energy of learned ways (2405.14780, eq. 8), in units of that of straight lines:

    .. math:: E\,[\dot x_t^\top G(x_t)\,\dot x_t]\,/\,E\,[\dot l_t^\top G(l_t)\,\dot l_t],

    with t uniform, :math:`x_t` of `bent`, and l the straight line between the same ends; the divisor has no
    gradient. G is diagonal, :math:`G = (h(x) + \rho)^{-\alpha}`, small where data are.
    Ends come from the recipe's source and coupling. Nothing is sampled of it: ``path: metric-interpolant``
    of a later stage takes the network.

    Args:
        spec: of the states; injected from the recipe.
        rho: keeps G finite where there are no data.
        alpha: how strongly ways are drawn to the data; 0 leaves them straight.
        samples: examples that the metric is made of. With the condition ``x0``, their beginnings as well.

    Raises:
        IncompatibleError: states are no vectors of numbers, all real.
    """

    generates = False

    def __init__(self, spec: Spec, rho: float = 1e-3, alpha: float = 1.0, samples: int = 1000) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None or spec.ragged:
            raise IncompatibleError(f"geodesics are of vectors of numbers; the data are {spec.in_words()}")
        if not 0 < rho < math.inf or not 0 <= alpha < math.inf or samples < 2:
            raise ValueError(
                f"rho is positive, alpha not negative and samples at least 2; got {rho}, {alpha}, {samples}"
            )
        self.shape, self.rho, self.alpha, self.samples = spec.shape, rho, alpha, samples
        self.path = AffinePath()
        self.register_buffer("points", torch.empty(0))

    @property
    def kind(self) -> Kind:
        """``interpolant``, which no solver takes."""
        return "interpolant"

    def conditions(self) -> Mapping[str, Condition]:
        """The other end of the way."""
        return {"towards": Condition(shape=self.shape)}

    def fit(self, data: Dataset | None, flow: Any, generator: torch.Generator) -> None:
        """Keep examples of the training data, from which the metric is made."""
        if data is None:
            raise IncompatibleError("geodesics keep to the data, and there are none")
        chosen = data.take(torch.randperm(len(data), generator=generator)[: self.samples])
        rows = flow.encode(chosen.to(flow.device))
        found = [rows.x]
        if "x0" in chosen.cond:
            begins = type(chosen)(chosen.cond["x0"], chosen.cond)
            found.append(flow.encode(begins.to(flow.device)).x)
        kept = torch.cat(found).flatten(1)
        self.points = kept[torch.randperm(len(kept), generator=generator)[: self.samples]]
        self.prepare(generator)

    def prepare(self, generator: torch.Generator) -> None:
        """What else is fitted to ``points``."""

    @abstractmethod
    def density(self, x: Tensor, points: Tensor) -> Tensor:
        """h at ``x`` ``(batch, d)``: ``(batch, d)`` or ``(batch, 1)``, large where ``points`` are."""

    def energy(self, x: Tensor, velocity: Tensor, points: Tensor) -> Tensor:
        """:math:`u^T G(x) u` of every row, ``(batch,)``."""
        metric = (self.density(x.flatten(1), points) + self.rho) ** -self.alpha
        return (metric * velocity.flatten(1).square()).sum(1)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The energy of the ways of a batch at random times.

        Raises:
            ShapeError: states have parts, or padding.
        """
        x0, x1 = batch.x0, batch.x1
        if not isinstance(x0, Tensor) or not isinstance(x1, Tensor) or batch.layout is not None:
            raise ShapeError("geodesics are of single tensors without padding or given entries")
        points = self.points if self.points.numel() else torch.cat([x0, x1]).flatten(1)
        points = points.to(x1)
        t = Draw.like(x1, step.generator).uniform((len(x1),))
        between = batch.cond.get("between")
        length = 1.0 if between is None else (between[:, 1] - between[:, 0]).to(x1)
        straight = x0 + expand(t, x0) * (x1 - x0)
        line = (self.energy(straight, x1 - x0, points) / length**2).mean().detach()
        way = (self.energy(*bent(model, x0, x1, t), points) / length**2).mean()
        return Loss(way / line.clamp_min(1e-12), {"energy": way.detach(), "straight": line})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return NetworkField(model, self.kind, self.path, source)


class LandGeodesics(GeodesicEnergy):
    r"""Under the LAND metric (Arvanitidis et al. 2016; 2405.14780, eq. 10), which sees each coordinate:

    .. math:: h_d(x) = \sum_n (x_{n,d} - x_d)^2 \exp(-|x - x_n|^2 / 2\sigma^2).

    Args:
        spec: see `GeodesicEnergy`.
        sigma: reach of an example, in units of the states. One much smaller than the gaps between examples
            sees none of them.
        rho: see `GeodesicEnergy`.
        alpha: see `GeodesicEnergy`.
        samples: see `GeodesicEnergy`.
    """

    def __init__(
        self, spec: Spec, sigma: float = 0.125, rho: float = 1e-3, alpha: float = 1.0, samples: int = 1000
    ) -> None:
        super().__init__(spec, rho, alpha, samples)
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    def density(self, x: Tensor, points: Tensor) -> Tensor:
        """h, ``(batch, d)``."""
        squares = (points - x[:, None]).square()
        near = (-squares.sum(-1) / (2 * self.sigma**2)).exp()
        return torch.einsum("bn,bnd->bd", near, squares)


class RbfGeodesics(GeodesicEnergy):
    r"""Under the RBF metric (2405.14780, eq. 11), for many dimensions:

    .. math:: h(x) = \sum_k W_k \exp(-\tfrac{\lambda_k}{2} |x - c_k|^2), \qquad
              \lambda_k = \tfrac12 (\kappa \sigma_k)^{-2},

    with c the centres of k-means, :math:`\sigma_k` the root mean square distance to them, and W not negative
    so that h is 1 on the data. The paper trains W by gradient descent; it is a problem of least squares,
    which is solved here.

    Args:
        spec: see `GeodesicEnergy`.
        centres: K, at most as many as there are examples.
        kappa: width of a centre, in units of its own spread.
        rho: see `GeodesicEnergy`.
        alpha: see `GeodesicEnergy`.
        samples: see `GeodesicEnergy`.
    """

    def __init__(
        self,
        spec: Spec,
        centres: int = 100,
        kappa: float = 1.5,
        rho: float = 1e-3,
        alpha: float = 1.0,
        samples: int = 1000,
    ) -> None:
        super().__init__(spec, rho, alpha, samples)
        if centres < 1 or not 0 < kappa < math.inf:
            raise ValueError(f"centres counts from 1 and kappa is positive, got {centres} and {kappa}")
        self.count, self.kappa = centres, kappa
        for name in ("centres", "sharpness", "weights"):
            self.register_buffer(name, torch.empty(0))

    def prepare(self, generator: torch.Generator) -> None:
        """Centres, their widths, and W."""
        points = self.points.double().cpu()
        seed = int(torch.randint(2**31, (), generator=generator))
        count = min(self.count, len(points))
        centres, label = kmeans2(points.numpy(), count, minit="++", seed=np.random.default_rng(seed))
        full = np.unique(label)  # a centre that lost its points has no width
        middle = torch.from_numpy(centres[full])
        squares = torch.cdist(points, middle).square()
        own = torch.from_numpy(label[:, None] == full[None])
        spread = (squares * own).sum(0) / own.sum(0)
        spread = spread.clamp_min(1e-3 * float(spread.mean()) + 1e-12)
        self.centres, self.sharpness = (
            middle.to(self.points),
            (0.5 / (self.kappa**2 * spread)).to(self.points),
        )
        bumps = (-0.5 * 0.5 / (self.kappa**2 * spread) * squares).exp()
        weights, _ = nnls(bumps.numpy(), np.ones(len(points)))
        self.weights = torch.from_numpy(weights).to(self.points)

    def density(self, x: Tensor, points: Tensor) -> Tensor:
        """h, ``(batch, 1)``; before it is fitted, equal bumps of width 1 on all ``points``."""
        if not self.weights.numel():
            return (-0.25 * torch.cdist(x, points).square()).exp().mean(1, keepdim=True)
        squares = torch.cdist(x - self.centres.mean(0), self.centres - self.centres.mean(0)).square()
        return (-0.5 * self.sharpness * squares).exp() @ self.weights[:, None]
