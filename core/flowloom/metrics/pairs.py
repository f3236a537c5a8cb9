"""Draws beside the truth of the same rows: what every paired metric starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.state import leaves

__all__ = ["Entries", "Ruler", "drawn_rows", "judged_rows"]


def drawn_rows(samples: Examples, truth: Examples) -> list[Examples]:
    """The draws of all rows, one after another: ``K`` times ``n`` examples.

    Raises:
        ShapeError: the samples are no whole number of draws.
    """
    n = len(truth)
    if not n or not len(samples) or len(samples) % n:
        raise ShapeError(f"{len(samples)} samples do not belong to {n} rows of truth; give every row as many")
    return [samples.take(rows) for rows in torch.arange(len(samples)).split(n)]


def judged_rows(samples: Examples, truth: Examples) -> tuple[list[Examples], Examples]:
    """The draws of all rows, and the truth, without rows of which nothing is real and free.

    Raises:
        ShapeError: the samples are no whole number of draws, or no row is left.
    """
    drawn = drawn_rows(samples, truth)
    if truth.layout is None:
        return drawn, truth
    kept = _some(_squares(None, truth.x, truth.x, truth.layout)[1] > 0)
    return [one.take(kept) for one in drawn], truth.take(kept)


def _some(counts: Tensor) -> Tensor:
    if not bool(counts.any()):
        raise ShapeError("there is nothing to judge: of every row all is given, or padding")
    return counts.nonzero(as_tuple=True)[0]


@dataclass(frozen=True)
class Ruler:
    r"""Distances between rows: what is real and free counts, and nothing else.

    The squared distance is summed over entries and parts: squared differences of numbers, squared geodesic
    distances of points where the geometry is curved or periodic, 1 for every token that differs (Hamming).

    Args:
        geometry: of the states; numbers are flat where None.
        codec: where there is one, data are no states: they are measured flat.
    """

    geometry: Geometry | None = None
    codec: Codec | None = None

    def squares(self, x: Examples, truth: Examples) -> tuple[Tensor, Tensor]:
        """Squared distance of every row, and the number of entries (of points, where distances are those of
        points) that it sums over: float64, ``(n,)`` each.
        """
        space = None if self.codec is not None else self.geometry
        return _squares(space, x.x, truth.x, truth.layout or Layout())

    def distances(self, drawn: list[Examples], truth: Examples) -> Tensor:
        """Root mean square distance over entries, of every draw from the truth: ``(K, n)``."""
        return torch.stack([self.distance(one, truth) for one in drawn])

    def distance(self, x: Examples, truth: Examples) -> Tensor:
        """Root mean square distance over entries, of every row: ``(n,)``; what counts is what is free of
        ``truth``.
        """
        squares, count = self.squares(x, truth)
        return squares.div(count.clamp_min(1)).sqrt()

    def spread(self, drawn: list[Examples], truth: Examples) -> Tensor:
        """Mean distance between two different draws of a row: ``(n,)``; there are at least two."""
        total = torch.zeros(len(truth), dtype=torch.float64)
        for i, one in enumerate(drawn):
            for other in drawn[:i]:
                # Which entries count is the truth's to say.
                total += self.distance(one, Examples(other.x, other.cond, truth.layout))
        return total * 2 / (len(drawn) * (len(drawn) - 1))


@dataclass(frozen=True)
class Entries:
    """Real-valued entries of draws and truth side by side, for metrics that look at numbers one by one.

    Rows of which nothing counts are left out.

    Args:
        drawn: ``(K, n, d)``, float64; 0 where nothing counts.
        truth: ``(n, d)``.
        counted: which are real and free, ``(n, d)``.
    """

    drawn: Tensor
    truth: Tensor
    counted: Tensor

    @classmethod
    def of(cls, samples: Examples, truth: Examples, ruler: Ruler, who: str) -> Entries:
        """Those of all flat parts; parts that are tokens or curved are left to other metrics.

        Raises:
            IncompatibleError: no part is real-valued and flat.
            ShapeError: the samples are no whole number of draws, or of no row anything counts.
        """
        flat = [name for name, leaf in leaves(truth.x) if _flat(ruler, name, leaf)]
        if not flat:
            raise IncompatibleError(
                f"{who} looks at real numbers one by one, and no part of these data is real-valued and flat; "
                "take energy-score, best-of or (for tokens) accuracy"
            )
        layout = truth.layout or Layout()
        chosen = dict(leaves(truth.x))

        def flattened(parts: dict[str, Tensor]) -> Tensor:
            columns = [layout.at(name).still(parts[name].double()).flatten(1) for name in flat]
            return torch.cat(columns, 1)

        ones = {name: torch.ones_like(chosen[name], dtype=torch.float64) for name in flat}
        drawn = torch.stack([flattened(dict(leaves(one.x))) for one in drawn_rows(samples, truth)])
        counted = flattened(ones).bool()
        rows = _some(counted.any(1))
        return cls(drawn[:, rows], flattened(chosen)[rows], counted[rows])

    def mean(self, values: Tensor) -> Tensor:
        """Mean of every row over the entries that count: ``(..., n, d) -> (..., n)``."""
        kept = torch.where(self.counted, values, torch.zeros((), dtype=values.dtype))
        return kept.sum(-1) / self.counted.sum(-1)

    def each(self, values: Tensor) -> Tensor:
        """Only the values of entries that count, in one line: ``(..., n, d) -> (..., m)``."""
        return values[..., self.counted]


def _flat(ruler: Ruler, name: str, leaf: Tensor) -> bool:
    if not leaf.is_floating_point():
        return False
    space = None if ruler.codec is not None else ruler.geometry
    for word in name.split(".") if name else ():
        space = None if space is None else space.part(word)
    return space is None or space.straight


def _squares(space: Geometry | None, x: Any, y: Any, layout: Layout) -> tuple[Tensor, Tensor]:
    if isinstance(y, dict):
        parts = [
            _squares(None if space is None else space.part(k), x[k], y[k], layout.part(k) or Layout())
            for k in y
        ]
        squares, counts = zip(*parts, strict=True)
        return torch.stack(squares).sum(0), torch.stack(counts).sum(0)
    if not y.is_floating_point():
        each = (x != y).double()
    elif space is None or space.straight:
        each = (x.double() - y.double()).square()
    else:
        each = space.distance_point(layout.fill(x), layout.fill(y)).double().square()
    ones = torch.ones_like(each)
    return _summed(layout.still(each)), _summed(layout.still(ones))


def _summed(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1) if values.ndim > 1 else values
