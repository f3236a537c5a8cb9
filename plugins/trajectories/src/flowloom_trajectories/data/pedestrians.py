"""The walking people of ETH and UCY, one scene held out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from torch import Tensor

from flowloom.data import Examples
from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_trajectories.data.parts import InParts
from flowloom_trajectories.data.tracks import read_tracks
from flowloom_trajectories.data.windows import Windows, cut

__all__ = ["SCENES", "Pedestrians", "Walks"]

Scene = Literal["eth", "hotel", "univ", "zara1", "zara2"]

SCENES: dict[str, tuple[str, ...]] = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
"""Scenes of the leave-one-out protocol, and their files."""

_TRAINED_ON = ("crowds_zara03", "uni_examples")
"""Files that belong to no scene and are trained on by all."""

_HOME = "https://raw.githubusercontent.com/abduallahmohamed/Social-STGCNN/master/datasets/raw/all_data"


class Walks(InParts):
    """Windows of walks in files of frame, id, x and y, with what was seen before them.

    States are positions ``(predicted, 2)`` in metres about the last observed one. Conditions: ``past``
    ``(observed, 2)``, and ``neighbours`` ``(neighbours, observed, 3)``, nearest first: x, y and 1 where that
    agent was seen, zeros elsewhere. ``ahead``, where neighbours then went, is told to metrics alone.

    Args:
        files: to read, on first use.
        test: files of the split ``test``; without any, a last share of each file is held out.
        observed: steps of the past.
        predicted: steps of the future.
        neighbours: most others that are told, 0 for none.
        val: share of each file's time, its end, that is the split ``val`` (and ``test`` before it, where
            there are no such files).

    Raises:
        DataError: on first use, where a file is missing, damaged or too short; names file and line.
    """

    def __init__(
        self,
        files: list[Path],
        test: list[Path] | None = None,
        observed: int = 8,
        predicted: int = 12,
        neighbours: int = 8,
        val: float = 0.1,
    ) -> None:
        for name, value, least in (
            ("observed", observed, 2),
            ("predicted", predicted, 1),
            ("neighbours", neighbours, 0),
        ):
            if value < least:
                raise DataError(f"{name} must be at least {least}, got {value}")
        if not 0 < val < 0.5:
            raise DataError(f"val is a share of the time between 0 and 0.5, got {val}")
        self.files, self.test_files = [Path(f) for f in files], [Path(f) for f in test or []]
        self.observed, self.predicted, self.neighbours, self.val = observed, predicted, neighbours, val

    @property
    def spec(self) -> Spec:
        """Futures, with past and neighbours as conditions."""
        told = {"past": Condition(shape=(self.observed, 2))}
        if self.neighbours:
            told["neighbours"] = Condition(shape=(self.neighbours, self.observed, 3))
            told["ahead"] = Condition(shape=(self.neighbours, self.predicted, 3), role="judged")
        return Spec((self.predicted, 2), conditions=told)

    def size(self, split: str) -> int:
        """Number of examples of a split."""
        return len(self._splits[split].start)

    def rows_of(self, split: str, rows: Tensor) -> Examples:
        """Futures of a split."""
        some = self._splits[split].take(rows)
        cond = {"past": some.past}
        if self.neighbours:
            cond |= {"neighbours": some.neighbours, "ahead": some.ahead}
        return Examples(some.future, cond)

    def located(self) -> tuple[list[Path], list[Path]]:
        """Files of training and of the test, as they lie on this machine."""
        for file in (*self.files, *self.test_files):
            if not file.is_file():
                raise DataError(f"there is no file {file}")
        return self.files, self.test_files

    @cached_property
    def _splits(self) -> dict[str, Windows]:
        ours, theirs = self.located()
        if not ours:
            raise DataError("no file to train on; give files")
        parts: dict[str, list[Windows]] = {"train": [], "val": [], "test": []}
        shares = {"train": 1 - self.val, "val": self.val}
        if not theirs:
            shares = {"train": 1 - 2 * self.val, "test": self.val, "val": self.val}
        for file in ours:
            windows, step = self._cut(file)
            for name, some in _by_time(windows, shares, self._length * step).items():
                parts[name].append(some)
        parts["test"] += [self._cut(file)[0] for file in theirs]
        found = {name: Windows.joined(some) for name, some in parts.items()}
        for name, some in found.items():
            if not len(some.start):
                files = ", ".join(file.name for file in ours)
                raise DataError(
                    f"nothing is left for the split {name} of {files}: its share of a file's time, "
                    f"{shares.get(name, 1.0):g}, holds no example of {self._length} steps that begins after "
                    "those of the split before have ended; give longer files, or another val"
                )
        return found

    @property
    def _length(self) -> int:
        return self.observed + self.predicted

    def _cut(self, file: Path) -> tuple[Windows, int]:
        """Its examples, and the frames from step to step."""
        tracks = read_tracks(file)
        found = cut(tracks, self.observed, self.predicted, self.neighbours)
        if not len(found.start):
            raise DataError(
                f"{file}: no agent is seen {self._length} steps ({self.observed} observed and "
                f"{self.predicted} predicted) of {tracks.step} frames in a row; the longest track without a "
                f"gap has {tracks.longest()}"
            )
        return found, tracks.step


class Pedestrians(Walks):
    """ETH and UCY, the usual protocol: 8 steps of 0.4 s seen, 12 to come, one scene held out.

    The split ``test`` is the scene; ``train`` and ``val`` (the end of each file) are all other files found
    in ``pedestrians`` under ``$FLOWLOOM_DATA``. Where none is there, all are downloaded.

    Args:
        scene: held out.
        root: folder of the files ``biwi_eth.txt`` and so on, in place of ``$FLOWLOOM_DATA/pedestrians``.
        observed: steps of the past.
        predicted: steps of the future.
        neighbours: most others that are told, 0 for none.
        val: share of each training file's time, its end, that is the split ``val``.

    Raises:
        DataError: as `Walks`; or the scene's file is not there.
    """

    def __init__(
        self,
        scene: Scene = "zara1",
        root: Path | None = None,
        observed: int = 8,
        predicted: int = 12,
        neighbours: int = 8,
        val: float = 0.1,
    ) -> None:
        super().__init__([], None, observed, predicted, neighbours, val)
        if scene not in SCENES:
            raise DataError(f"scene is one of {', '.join(SCENES)}, got {scene!r}")
        self.scene, self.root = scene, root

    def located(self) -> tuple[list[Path], list[Path]]:
        """The files of other scenes, and those of this one."""
        places = [Path(self.root)] if self.root else folders(None, ["pedestrians"])
        names = [name for files in SCENES.values() for name in files]
        found = {name: find(places, [f"{name}.txt"]) for name in (*names, *_TRAINED_ON)}
        if not any(found.values()):
            for name in names:
                target = places[0] / f"{name}.txt"
                found[name] = fetch([f"{_HOME}/{name}.txt"], None, target)
        own = SCENES[self.scene]
        missing = [name for name in own if found[name] is None]
        if missing:
            have = ", ".join(name for name, file in found.items() if file)
            raise DataError(
                f"scene {self.scene} is {', '.join(f'{name}.txt' for name in missing)}, which is not in "
                f"{places[0]}; there is: {have}"
            )
        ours = [file for name, file in found.items() if file is not None and name not in own]
        return ours, [file for name in own if (file := found[name]) is not None]


def _by_time(windows: Windows, shares: dict[str, float], gap: int) -> dict[str, Windows]:
    """Windows by when they begin; none of a later share begins before those of an earlier one have ended.

    Args:
        windows: of one file.
        shares: of its time, in order.
        gap: frames that a window lasts.
    """
    # Counted from the first, in float64: frames that are times of a clock are beyond the digits of float32.
    when = (windows.start - windows.start.min()).double()
    last = float(when.max())
    found, begin = {}, 0.0
    for i, (name, share) in enumerate(shares.items()):
        end = begin + share * (last + 1)
        late = begin + (gap if i else 0)
        found[name] = windows.take(((when >= late) & (when < end)).nonzero()[:, 0])
        begin = end
    return found
