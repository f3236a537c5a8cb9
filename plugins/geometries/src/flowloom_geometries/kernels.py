"""A mixture of kernels around training rows: a source that lies where the data do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowloom.data.base import Dataset
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import Geometry, Sphere
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Cond, float_dtype
from flowloom_geometries.von_mises_fisher import draw_around, log_peak

if TYPE_CHECKING:
    from flowloom.flow import Flow

_CELLS = 2_000_000  # of a table of distances at a time


class Kernels(nn.Module, Source):
    r"""Von Mises-Fisher kernels of many widths around the training rows, and the uniform law.

    .. math:: q(x) = w_0 \frac{1}{4\pi} + \sum_c \frac{w_c}{n} \sum_{i=1}^n K_{h_c(i)}(x, x_i)

    A component c has the same width h for every row, or one in proportion to the distance of the row's k-th
    neighbour (Breiman, Meisel and Purcell 1977), so that kernels are narrow where rows are dense. Weights
    maximise the likelihood of training rows under the *other* rows, by EM: of every row scored, its own
    kernel is left out and its neighbours' widths are those that they would have without it.

    A flow from such a source has a short way to go (data-dependent bases: Albergo et al. 2310.03725), and
    starts, before anything is learned, as a density estimate. Before it is fitted it is the uniform law.
    Training rows are kept with the weights.

    Args:
        geometry: the sphere S^2; injected from the recipe where none is given.
        widths: number of fixed widths, spaced geometrically.
        narrowest: of all widths, in radians. Where rows repeat, the likelihood grows without limit as this
            falls, so it is a statement about the precision of the data and not to be tuned.
        widest: of the fixed widths, in radians.
        neighbours: values of k.
        scales: width over distance to the k-th neighbour.
        rows: training rows whose likelihood the weights maximise, at most.

    Raises:
        IncompatibleError: the geometry is not S^2.
    """

    centres: Tensor
    reach: Tensor
    weights: Tensor

    def __init__(
        self,
        geometry: Geometry,
        widths: int = 12,
        narrowest: float = 1e-4,
        widest: float = 0.5,
        neighbours: Sequence[int] = (1, 4, 16, 64),
        scales: Sequence[float] = (0.5, 1.0),
        rows: int = 2000,
    ) -> None:
        super().__init__()
        if not isinstance(geometry, Sphere) or geometry.dim != 2:
            raise IncompatibleError(f"source kernels is for the sphere of dimension 2, not {geometry}")
        if not 0 < narrowest < widest <= 1:
            raise ValueError(f"widths must grow from above 0 to at most 1, got {narrowest} to {widest}")
        if widths < 2 or rows < 1:
            raise ValueError(f"widths must be at least 2 and rows at least 1, got {widths} and {rows}")
        if any(k < 1 for k in neighbours) or any(s <= 0 for s in scales):
            raise ValueError(f"neighbours and scales must be positive, got {neighbours} and {scales}")
        self.geometry, self.narrowest, self.rows = geometry, narrowest, rows
        self.neighbours, self.scales = tuple(neighbours), tuple(scales)
        ratio = (widest / narrowest) ** (1 / (widths - 1))
        self.fixed = tuple(narrowest * ratio**i for i in range(widths))
        # Their sizes are known once there are rows.
        self.register_buffer("centres", torch.zeros(0, 3))
        self.register_buffer("reach", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(0, dtype=torch.float64))

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Flow, generator: torch.Generator) -> None:
        """Keep the training rows, and weigh the components.

        Raises:
            DataError: there are no rows, or fewer than two.
        """
        if data is None or len(data) < 2:
            raise DataError("source kernels stands on training rows, and needs two or more")
        states = flow.encode(data.all(), generator).x
        assert isinstance(states, Tensor)
        self.centres = states.float()
        nearest = self._nearest(max(self.neighbours, default=1) + 1)
        places = torch.tensor(self.neighbours, dtype=torch.long, device=states.device)
        self.reach = nearest[:, (places - 1).clamp_max(nearest.shape[1] - 1)]
        # Without one of its k neighbours, the next one is the k-th.
        beyond = nearest[:, places.clamp_max(nearest.shape[1] - 1)]
        chosen = torch.randperm(len(states), generator=generator)[: self.rows].to(states.device)
        seen = self._table(self.centres[chosen], chosen, beyond)
        weights = torch.full((seen.shape[1],), 1 / seen.shape[1], dtype=torch.float64, device=seen.device)
        for _ in range(300):
            weights = torch.softmax(seen + weights.log(), 1).mean(0)
        # What carries next to nothing costs as much as the rest; the uniform law is a floor, and stays.
        kept = weights.where(weights > 1e-3, 0)
        kept[-1] = weights[-1].clamp_min(1e-4)
        self.weights = kept / kept.sum()

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """Exact draws, ``(n, 3)``."""
        if not len(self.weights):
            return self.geometry.random(shape, draw)
        n, double = shape[0], draw.in_dtype(torch.float64)
        share = double.uniform((n,))
        component = torch.searchsorted(self.weights.cumsum(0).to(share.device), share)
        component = component.clamp_max(len(self.weights) - 1)
        row = draw.integers(len(self.centres), (n,))
        uniform = self.geometry.random(shape, double)
        unused = self.reach.new_ones(len(self.reach))
        widths = torch.stack([*self._widths(), unused], 1).to(row.device)
        concentration = widths[row, component].pow(-2)[:, None]
        near = draw_around(self.centres.to(row.device).double()[row], concentration, double)
        x = torch.where((component == len(self.weights) - 1)[:, None], uniform, near)
        return x.to(draw.dtype or torch.get_default_dtype())

    @torch.no_grad()
    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Log density per steradian, ``(batch,)``; summed in float64."""
        if not len(self.weights):
            return torch.full((len(x),), -self.geometry.log_volume(), device=x.device, dtype=float_dtype(x))
        table = self._table(x) + self.weights.log()
        return torch.logsumexp(table, 1).to(float_dtype(x))

    def repeated(self, x: Tensor, within: float, nearest: int = 16) -> Tensor:
        r"""The probability that a point was drawn by a kernel narrower than ``within``, ``(batch,)``.

        .. math:: r(x) = \sum_{c, i:\, h_c(i) < \delta} \frac{w_c}{n} K_{h_c(i)}(x, x_i) \Big/ q(x)

        Kernels of the ``nearest`` rows count, beside which the others are next to nothing. Differentiable
        in ``x``; 0 before the source is fitted.

        Args:
            x: points, ``(batch, 3)``.
            within: :math:`\delta`, in radians.
            nearest: rows.
        """
        if not len(self.weights):
            return torch.zeros_like(x[:, 0])
        with torch.no_grad():
            apart = torch.cdist(x.detach(), self.centres.to(x.dtype))
            rows = apart.topk(min(nearest, len(self.centres)), 1, largest=False).indices
        used = self.weights[:-1].nonzero()[:, 0]
        widths = torch.stack(list(self._widths()), 1)[:, used][rows].to(x.dtype)
        squared = (x[:, None] - self.centres[rows].to(x.dtype)).square().sum(-1, keepdim=True)
        concentration = widths.pow(-2)
        share = (self.weights[used] / len(self.centres)).to(x.dtype)
        density = share * (log_peak(concentration) - 0.5 * concentration * squared).exp()
        uniform = self.weights[-1].to(x.dtype) * math.exp(-self.geometry.log_volume())
        return density.where(widths < within, 0).sum((1, 2)) / (density.sum((1, 2)) + uniform)

    def _widths(self) -> Iterator[Tensor]:
        """Of every component but the uniform law, one for each row, ``(n,)``."""
        for width in self.fixed:
            yield self.reach.new_full((len(self.reach),), width)
        for column in self.reach.unbind(1):
            for scale in self.scales:
                yield (scale * column).clamp(self.narrowest, 1.0)

    def _nearest(self, count: int) -> Tensor:
        """Distances of every row to its nearest others, ascending, ``(n, count)`` or as many as there are."""
        count = min(count, len(self.centres) - 1)
        found = [
            _squared(part, self.centres).topk(count + 1, 1, largest=False).values[:, 1:]
            for part in self.centres.split(self._rows_at_once())
        ]
        return torch.cat(found).sqrt()

    def _rows_at_once(self) -> int:
        return max(1, _CELLS // len(self.centres))

    def _table(self, x: Tensor, own: Tensor | None = None, beyond: Tensor | None = None) -> Tensor:
        """Log density of every component at ``x``, ``(batch, components)``.

        Args:
            x: points.
            own: the row that each point is, where its own kernel is to be left out.
            beyond: distances that reach has where a row loses one of its neighbours.
        """
        left = len(self.centres) - (own is not None)
        parts = []
        for rows in torch.arange(len(x), device=x.device).split(self._rows_at_once()):
            squared = _squared(x[rows], self.centres)
            columns = []
            for number, width in enumerate(self._widths()):
                if own is None and self.weights[number] == 0:
                    columns.append(squared.new_full((len(rows),), -math.inf))
                    continue
                if own is not None and beyond is not None and number >= len(self.fixed):
                    width = self._without(number, squared, beyond)
                concentration = width.pow(-2)
                density = (log_peak(concentration) - 0.5 * concentration * squared).exp()
                if own is not None:
                    density[torch.arange(len(rows)), own[rows]] = 0
                columns.append((density.sum(1) / left).log())
            columns.append(squared.new_full((len(rows),), -self.geometry.log_volume()))
            parts.append(torch.stack(columns, 1))
        return torch.cat(parts) if parts else x.new_zeros((0, len(self.weights)), dtype=torch.float64)

    def _without(self, number: int, squared: Tensor, beyond: Tensor) -> Tensor:
        """Widths of a component as they are for each point when that point is no row, ``(batch, n)``."""
        place, scale = divmod(number - len(self.fixed), len(self.scales))
        reach = self.reach[:, place]
        theirs = torch.where(squared.sqrt() <= reach, beyond[:, place], reach)
        return (self.scales[scale] * theirs).clamp(self.narrowest, 1.0)


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared chords, float64; by differences, which near rows need."""
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
