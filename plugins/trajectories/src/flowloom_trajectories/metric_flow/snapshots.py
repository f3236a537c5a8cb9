"""Populations that are seen at some times only, each time other members: cells of a growing tissue."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_trajectories.data.populations import Branching
from flowloom_trajectories.metric_flow.cells import read_cells

__all__ = ["Arch", "BranchingSnapshots", "Population", "Snapshots", "SphereCap"]

_SPLITS = {"train": 0, "val": 1_000_003, "test": 2_000_003}


class Population(Dataset):
    """Members of a population at times, of which one may be held out.

    A row is a member seen at the end of an interval between two times that are told; ``x0``, where paths
    start, is any member seen at its beginning, ``between`` both times in ``[0, 1]``, and ``interval`` its
    number, within which a coupling may pair. Rows go round the intervals. The split ``test`` is the snapshot
    that is held out, which neither ends nor begins an interval of the others; ``val`` are further members at
    the times that are told. Where nothing is held out, ``test`` is as ``val``.

    Args:
        n: rows in every split.
        seed: of the draws.
        held: number of the snapshot that is held out, neither the first nor the last; None for none.

    Raises:
        DataError: there is no such snapshot.
    """

    def __init__(self, n: int, seed: int, held: int | None, times: Sequence[float]) -> None:
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}")
        if held is not None and not 0 < held < len(times) - 1:
            raise DataError(
                f"the held-out snapshot lies between others: held is 1 to {len(times) - 2}, got {held}"
            )
        self.n, self.seed, self.held, self.which = n, seed, held, "train"
        self.times = tuple(float(t) for t in times)
        self._drawn: Examples | None = None

    @abstractmethod
    def members(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """``n`` members ``(n, d)`` seen at time number ``k``."""

    @property
    @abstractmethod
    def features(self) -> int:
        """d."""

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """Numbers of the times between which paths run."""
        told = [k for k in range(len(self.times)) if k != self.held]
        return list(pairwise(told))

    @property
    def spec(self) -> Spec:
        """Members, and where and when their paths begin."""
        conditions = {
            "x0": Condition(shape=(self.features,), role="start"),
            "between": Condition(shape=(2,), role="start"),
            "interval": Condition(classes=len(self.intervals), role="start"),
        }
        return Spec((self.features,), conditions=conditions)

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        if self._drawn is None:
            self._drawn = self._draw(torch.Generator().manual_seed(self.seed + _SPLITS[self.which]))
        return self._drawn.take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), ``val`` or ``test``."""
        if name not in _SPLITS:
            return super().split(name)
        if name == self.which:
            return self
        other = copy.copy(self)
        other.which, other._drawn = name, None
        return other

    def _draw(self, generator: torch.Generator) -> Examples:
        pairs = list(enumerate(self.intervals))
        if self.which == "test" and self.held is not None:
            held = self.held
            pairs = [(i, (a, held)) for i, (a, b) in pairs if a < held < b]
        turn = torch.arange(self.n) % len(pairs)
        x, x0 = torch.empty(self.n, self.features), torch.empty(self.n, self.features)
        between, interval = torch.empty(self.n, 2), torch.empty(self.n, dtype=torch.long)
        for j, (i, (a, b)) in enumerate(pairs):
            here = turn == j
            count = int(here.sum())
            x[here], x0[here] = self.members(b, count, generator), self.members(a, count, generator)
            between[here], interval[here] = torch.tensor([self.times[a], self.times[b]]), i
        return Examples(x, {"x0": x0, "between": between, "interval": interval})


class Arch(Population):
    """Points that move along half a circle of radius 1, seen at its ends; halfway is held out (2405.14780).

    At time s an angle is normal about pi (1 - s), mirrored back into the half circle, and the radius normal
    about 1 with deviation ``thickness``. The angle's deviation is ``spread`` at both ends and ``narrow``
    halfway, linear between. A wide spread lets two snapshots cover the arch between them, so that its form
    can be seen without the one that is held out; and since optimal pairs are mirror images, whose ways all
    cross the top, what passes there is narrow.

    Args:
        n: rows in every split.
        seed: of the draws.
        spread: radians.
        narrow: radians.
        thickness: of the arch.
    """

    features = 2

    def __init__(
        self,
        n: int = 4000,
        seed: int = 0,
        spread: float = 0.7,
        narrow: float = 0.15,
        thickness: float = 0.05,
    ) -> None:
        super().__init__(n, seed, 1, (0.0, 0.5, 1.0))
        self.spread, self.narrow, self.thickness = spread, narrow, thickness

    def members(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Points on the arch."""
        normal = torch.randn(2, n, generator=generator)
        end = abs(2 * self.times[k] - 1)
        deviation = self.spread * end + self.narrow * (1 - end)
        angle = (math.pi * (1 - self.times[k]) + deviation * normal[0]).abs()
        angle = torch.where(angle > math.pi, 2 * math.pi - angle, angle)
        radius = 1 + self.thickness * normal[1]
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


class SphereCap(Population):
    """Points that move over the top of a sphere of radius 1, seen at both sides; halfway is held out.

    At time s a point is normal, with deviation ``spread``, about the angle ``(s - 1/2) reach`` from the top
    and about 0 across, and 1 with deviation ``thickness`` from the middle.

    Args:
        n: rows in every split.
        seed: of the draws.
        reach: radians between the two snapshots.
        spread: radians.
        thickness: of the cap.
    """

    features = 3

    def __init__(
        self,
        n: int = 4000,
        seed: int = 0,
        reach: float = 2.2,
        spread: float = 0.4,
        thickness: float = 0.02,
    ) -> None:
        super().__init__(n, seed, 1, (0.0, 0.5, 1.0))
        self.reach, self.spread, self.thickness = reach, spread, thickness

    def members(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Points on the cap."""
        normal = torch.randn(3, n, generator=generator)
        along = self.reach * (self.times[k] - 0.5) + self.spread * normal[0]
        across, radius = self.spread * normal[1], 1 + self.thickness * normal[2]
        directions = [along.sin() * across.cos(), across.sin(), along.cos() * across.cos()]
        return radius[:, None] * torch.stack(directions, 1)


class BranchingSnapshots(Population):
    """`Branching`, seen as cells are: in every snapshot other ones.

    Args:
        n: rows in every split.
        seed: of the draws.
        snapshots: evenly spaced in time.
        held: number of the one that is held out.
    """

    features = 2

    def __init__(self, n: int = 4000, seed: int = 0, snapshots: int = 5, held: int | None = 2) -> None:
        self.law = Branching(times=snapshots)
        super().__init__(n, seed, held, [k / (snapshots - 1) for k in range(snapshots)])

    def members(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Cells."""
        ways = self.law.draw_examples(n, generator).x
        assert isinstance(ways, Tensor)
        return ways[:, k]


class Snapshots(Population):
    """Cells in a file: a column ``time``, and the others their coordinates (principal components, say).

    A tenth of the cells of every time is kept for ``val``. Times are mapped onto [0, 1].

    Args:
        file: CSV with a header, an archive of arrays (npz, safetensors) of equal length, or AnnData (h5ad).
        n: rows in every split, drawn with replacement.
        seed: of the draws.
        time: name of the column.
        held: number of the snapshot that is held out, counted from 0; None for none.
        embedding: of an AnnData file, the entry of its ``obsm`` that holds coordinates, or ``X``.

    Raises:
        DataError: the file has no such column, or fewer than two times, or a time with fewer than 10 cells.
    """

    reads_files = True

    def __init__(
        self,
        file: Path,
        n: int = 4000,
        seed: int = 0,
        time: str = "time",
        held: int | None = None,
        embedding: str = "X_pca",
    ) -> None:
        cells, when = read_cells(Path(file), time, embedding)
        times, at = when.unique(return_inverse=True)
        counts = torch.bincount(at)
        if len(times) < 2 or int(counts.min()) < 10:
            raise DataError(
                f"{file}: snapshots at 2 or more times, of at least 10 cells each; it has "
                + ", ".join(f"{int(c)} at {float(t):g}" for t, c in zip(times, counts, strict=True))
            )
        super().__init__(n, seed, held, ((times - times[0]) / (times[-1] - times[0])).tolist())
        self._cells = [cells[at == k] for k in range(len(times))]

    @property
    def features(self) -> int:
        """Coordinates of a cell."""
        return self._cells[0].shape[1]

    def members(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Cells of the file, with replacement; all of them in the snapshot that is held out."""
        cells = self._cells[k]
        if k != self.held or self.which != "test":
            kept = torch.arange(len(cells)) % 10 == 9
            cells = cells[~kept if self.which == "train" else kept]
        return cells[torch.randint(len(cells), (n,), generator=generator)]
