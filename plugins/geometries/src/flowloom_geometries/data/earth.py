"""Events on the surface of the Earth as points of S^2."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom.spec import Spec

Event = Literal["volcano", "earthquake", "flood", "fire"]

_FILES: dict[str, str] = {
    "volcano": "volerup.csv",
    "earthquake": "quakes_all.csv",
    "flood": "flood.csv",
    "fire": "fire.csv",
}
# As collected by Mathieu and Nickel (2006.10605) and published with De Bortoli et al. (2202.02763).
_HOME = (
    "https://raw.githubusercontent.com/oxcsml/riemannian-score-sde/"
    "5b48a7f7e175894afb6933f5e5f367b5a0eb65d7/data/"
)
_SHA256 = {
    "volcano": "f7bbaf32a412f5fe82350f48e0c55100be260803969c16557343f687fd0593fc",
    "fire": "c5c6c9490b1d8c58ba9eb78d9e2f82d1c1e62694ca5cff917c54600d3d83f459",
}
EARTH_KM = 6371.0
_LATITUDE = ("latitude", "lat")
_LONGITUDE = ("longitude", "long", "lon", "lng")


class Earth(Dataset):
    """Where volcanoes erupted, the ground shook, rivers flooded or land burned: unit vectors ``(3,)``.

    The four sets of Mathieu and Nickel (2006.10605), from NOAA (volcanoes, earthquakes), the Dartmouth
    Flood Observatory (floods) and NASA (fires). Files are looked for in ``earth/`` under
    ``$FLOWLOOM_DATA`` and there itself, and downloaded where they are missing. The split is random by
    ``seed``: 80 % ``train``, 10 % ``val``, 10 % ``test``, of the rows as they stand. Many volcanoes
    erupted more than once, so a test point often coincides with a training point; that is how the published
    tables were made, and why their likelihoods are so high.

    Args:
        event: which of the four.
        file: a CSV file of one's own instead: latitude and longitude in degrees in the first two columns, or
            in those that a header line calls ``latitude`` or ``lat`` and ``longitude``, ``long``, ``lon`` or
            ``lng`` (in any case and order); lines that begin with ``#`` are skipped.
        seed: of the split.
        root: folder to search instead of ``$FLOWLOOM_DATA``.

    Raises:
        DataError: on first use, where the file is missing or a row is malformed (``file:line`` is named).
    """

    def __init__(
        self, event: Event = "volcano", file: Path | None = None, seed: int = 0, root: Path | None = None
    ) -> None:
        if file is None and event not in _FILES:
            raise DataError(f"unknown event '{event}'; there are: {', '.join(_FILES)}")
        self.event, self.file, self.seed, self.root = event, file, seed, root
        self.part = "train"
        self._points: Tensor | None = None

    @property
    def spec(self) -> Spec:
        """Unit vectors, without conditions."""
        return Spec(shape=(3,))

    @property
    def points(self) -> Tensor:
        """The points of this split, float32 ``(n, 3)``."""
        if self._points is None:
            every = to_sphere(read_coordinates(self.path())).float()
            self._points = every[split_rows(len(every), self.seed)[self.part]]
        return self._points

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        return Examples(self.points[rows])

    def split(self, name: str) -> Dataset:
        """``train``, ``val`` or ``test``."""
        if name not in ("train", "val", "test"):
            raise DataError(f"Earth has no split '{name}'; it has: train, val, test")
        other = Earth(self.event, self.file, self.seed, self.root)
        other.part = name
        return other

    def path(self) -> Path:
        """The file, downloaded where it is missing."""
        if self.file is not None:
            return Path(self.file).expanduser()
        name, places = _FILES[self.event], folders(self.root, ("earth", "."))
        found = find(places, [name])
        return found or fetch([_HOME + name], _SHA256.get(self.event), places[0] / name)


def split_rows(n: int, seed: int) -> dict[str, Tensor]:
    """A random 80/10/10 split of ``n`` rows.

    Raises:
        DataError: a part would be empty.
    """
    if n < 10:
        raise DataError(f"{n} points are too few for an 80/10/10 split; give at least 10")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    first, second = int(0.8 * n), int(0.9 * n)
    return {"train": order[:first], "val": order[first:second], "test": order[second:]}


def to_sphere(degrees: Tensor) -> Tensor:
    """Latitude and longitude in degrees to unit vectors: ``(n, 2) -> (n, 3)``."""
    latitude, longitude = torch.deg2rad(degrees).unbind(-1)
    flat = latitude.cos()
    return torch.stack([flat * longitude.cos(), flat * longitude.sin(), latitude.sin()], -1)


def to_degrees(x: Tensor) -> Tensor:
    """Unit vectors to latitude and longitude in degrees: ``(n, 3) -> (n, 2)``."""
    latitude = torch.atan2(x[..., 2], x[..., :2].norm(dim=-1))
    return torch.rad2deg(torch.stack([latitude, torch.atan2(x[..., 1], x[..., 0])], -1))


def kilometres_to_nearest(x: Tensor, rows: Tensor) -> Tensor:
    """How far each point is from the nearest of ``rows``, along the ground, in km: ``(n,)``, float64.

    A great circle on a ball of radius 6371 km, from the chord, whose digits hold for close points:
    :math:`2 R \\arcsin(|x - y| / 2)`.
    """
    at_once = max(1, 2_000_000 // max(1, len(rows)))
    chords = [
        torch.cdist(part, rows.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        for part in x.double().split(at_once)
    ]
    return 2 * EARTH_KM * torch.asin((torch.cat(chords) / 2).clamp_max(1))


def read_coordinates(file: Path) -> Tensor:
    """Latitude and longitude in degrees of every row of a CSV file, float64 ``(n, 2)``.

    Raises:
        DataError: the file cannot be read, is empty, or a row is malformed; names ``file:line``.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig", errors="replace") as lines:
            rows = [(n, row) for n, row in enumerate(csv.reader(lines), 1) if _is_content(row)]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    except csv.Error as error:
        raise DataError(f"{file} is no table of coordinates: {error}") from error
    columns = _columns(rows[0][1]) if rows else None
    if columns is not None:
        rows.pop(0)
    elif rows and not any(map(_is_number, rows[0][1])):
        raise DataError(
            f"{file}:{rows[0][0]}: neither numbers nor a header with the columns latitude and longitude: "
            f"{','.join(rows[0][1])!r}"
        )
    if not rows:
        raise DataError(f"{file} holds no rows of latitude, longitude")
    return torch.tensor(
        [_coordinates(file, n, row, columns or (0, 1)) for n, row in rows], dtype=torch.float64
    )


def _is_content(row: list[str]) -> bool:
    return any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(row: list[str]) -> tuple[int, int] | None:
    """Where a header has latitude and longitude; None where the row is no such header."""
    words = [cell.strip().lower() for cell in row]
    latitude = next((i for i, word in enumerate(words) if word in _LATITUDE), None)
    longitude = next((i for i, word in enumerate(words) if word in _LONGITUDE), None)
    return None if latitude is None or longitude is None else (latitude, longitude)


def _coordinates(file: Path, number: int, row: list[str], columns: tuple[int, int]) -> tuple[float, float]:
    where = f"{file}:{number}"
    if len(row) <= max(columns):
        raise DataError(f"{where}: expected latitude, longitude; got {','.join(row)!r}")
    values = []
    for name, column, limit in (("latitude", columns[0], 90.0), ("longitude", columns[1], 360.0)):
        try:
            value = float(row[column])
        except ValueError:
            raise DataError(f"{where}: {name} is not a number: {row[column]!r}") from None
        if not (math.isfinite(value) and abs(value) <= limit):
            raise DataError(f"{where}: {name} {row[column].strip()} is out of range (±{limit:g} degrees)")
        values.append(value)
    return values[0], values[1]
