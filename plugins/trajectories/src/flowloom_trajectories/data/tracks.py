"""Reading tracks of agents: frame, id, x, y, one sighting a line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError

__all__ = ["Tracks", "read_tracks"]

_BETWEEN = re.compile(r"[\s,;]+")
_FIELDS = ("frame", "id", "x", "y")


@dataclass(frozen=True)
class Tracks:
    """Sightings of agents, sorted by agent and then by frame.

    Args:
        frames: int64 ``(m,)``, in the file's own numbering.
        agents: int64 ``(m,)``.
        xy: positions in metres, float64 ``(m, 2)``: coordinates of a map are large beside a step.
        step: frames between two sightings of an agent, the most common distance.
    """

    frames: Tensor
    agents: Tensor
    xy: Tensor
    step: int

    def stretches(self, length: int) -> Tensor:
        """First sighting of every stretch of ``length`` sightings without a gap: int64 ``(n,)``.

        A track with a gap is two tracks; agents seen more briefly have no stretch.
        """
        m = len(self.frames)
        broken = (self.agents.diff() != 0) | (self.frames.diff() != self.step)
        run = torch.cat([torch.zeros(1, dtype=torch.long), broken.long()]).cumsum(0)
        first = torch.arange(max(m - length + 1, 0))
        return first[run[first] == run[first + length - 1]]

    def longest(self) -> int:
        """Sightings of the longest stretch without a gap."""
        broken = (self.agents.diff() != 0) | (self.frames.diff() != self.step)
        run = torch.cat([torch.zeros(1, dtype=torch.long), broken.long()]).cumsum(0)
        return int(run.bincount().max())


def read_tracks(file: Path) -> Tracks:
    """Read a file of the layout of ETH and UCY: tabs, commas or blanks between frame, id, x and y.

    Lines may come in any order; a line of words at the top is a header, and what follows ``#`` is a comment.

    Raises:
        DataError: a line holds something else, or an agent twice in one frame; names the file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    rows: list[tuple[float, float, float, float]] = []
    seen: dict[tuple[float, float], int] = {}
    started = False
    for number, line in enumerate(text.splitlines(), 1):
        text = line.partition("#")[0].strip().rstrip(",; \t")
        cells = _BETWEEN.split(text) if text else []
        if not cells:
            continue
        header, started = not started and not any(map(_number, cells)), True
        if header:
            continue
        # An empty cell, or a comma within a number, would shift the values after it.
        between = {"".join(one.split()) for one in _BETWEEN.findall(text)}
        if len(between) > 1 or max(map(len, between), default=0) > 1:
            raise DataError(
                f"{file}:{number}: {text!r} holds an empty cell, or two kinds of separators; write numbers "
                "with a point, and tabs, commas, semicolons or blanks between all"
            )
        frame, agent, x, y = _row(file, number, cells)
        before = seen.setdefault((frame, agent), number)
        if before != number:
            raise DataError(
                f"{file}:{number}: agent {agent:g} stands in frame {frame:g} twice, first in line {before}"
            )
        rows.append((frame, agent, x, y))
    if not rows:
        raise DataError(f"{file} holds no tracks")
    table = np.array(rows, dtype=np.float64)
    table = table[np.lexsort((table[:, 0], table[:, 1]))]
    frames, agents = (torch.from_numpy(table[:, i]).long() for i in (0, 1))
    gaps = frames.diff()[agents.diff() == 0]
    step = int(gaps.mode().values) if len(gaps) else 1
    return Tracks(frames, agents, torch.from_numpy(table[:, 2:].copy()), step)


def _row(file: Path, line: int, cells: list[str]) -> tuple[float, float, float, float]:
    if len(cells) != 4:
        raise DataError(f"{file}:{line}: {len(cells)} values; a line holds frame, id, x and y")
    values = []
    for field, cell in zip(_FIELDS, cells, strict=True):
        value = float(cell) if _number(cell) else math.nan
        # Beyond that neighbouring numbers are the same.
        whole = field in ("x", "y") or (value.is_integer() and abs(value) <= 2**53)
        if not math.isfinite(value) or not whole:
            what = "a whole number up to 2^53" if field in ("frame", "id") else "a number of metres"
            raise DataError(f"{file}:{line}: {field} is {cell!r}; it takes {what}")
        values.append(value)
    frame, agent, x, y = values
    return frame, agent, x, y


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
