"""What the image data sets share: whole-number pixels in memory, scaled to [-1, 1] on the way out."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_images.data.splits import stratified


class Rows(Protocol):
    """What gives uint8 images ``(k, C, H, W)`` for row numbers: a tensor, or files read on demand."""

    def __getitem__(self, rows: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Pixels:
    """Images as they are stored.

    Args:
        images: uint8 ``(n, C, H, W)``, or what gives such for row numbers.
        labels: class ids, int64 ``(n,)``; all zero where there are no classes.
    """

    images: Rows
    labels: Tensor

    def rows(self, rows: Tensor) -> Pixels:
        """Images and labels at ``rows`` (int64 ``(k,)``)."""
        return Pixels(self.images[rows], self.labels[rows])


class PixelDataset(Dataset):
    """Images read on first use and kept as uint8, with class ids where there are classes.

    Subclasses say their shape, class names and brightest value, and read one part; splitting
    and scaling to ``[-1, 1]`` happen here.

    Args:
        val: share of the training part carved off as split ``val``, by class and ``seed``; 0 for none.
        seed: of every split that is drawn.
    """

    shape: ClassVar[tuple[int, int, int]]
    names: ClassVar[tuple[str, ...]]
    brightest: ClassVar[int] = 255

    def __init__(self, val: float = 0.0, seed: int = 0) -> None:
        if not 0 <= val < 1:
            raise DataError(f"val is a share of the training part in [0, 1), got {val}")
        self.val, self.seed = val, seed
        self._split = "train"
        # Shared by the splits of one data set, so that nothing is read twice.
        self._parts: dict[str, Pixels] = {}

    @abstractmethod
    def read(self, part: str) -> Pixels:
        """All images of one of the parts that are `stored`."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The splits that are kept apart already, ``train`` first; ``val`` may be carved off ``train``."""
        return ("train", "test")

    @property
    def spec(self) -> Spec:
        """Images ``(C, H, W)`` in [-1, 1] with the class id as ``label``."""
        label = Condition(len(self.names), names=self.names)
        return Spec(shape=self.shape, conditions={"label": label}, limits=(-1.0, 1.0))

    @property
    def part(self) -> Pixels:
        """The stored part that this split is drawn from; read on first use."""
        name = self._split if self._split in self.stored else "train"
        if name not in self._parts:
            self._parts[name] = self.read(name)
        return self._parts[name]

    @cached_property
    def index(self) -> Tensor:
        """Row numbers of this split within its part, int64."""
        labels = self.part.labels
        if not self.val or self._split not in ("train", "val"):
            return torch.arange(len(labels))
        kept, held = stratified(labels, self.val, self.seed)
        return held if self._split == "val" else kept

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Tensor) -> Examples:
        """Images ``(n, C, H, W)`` in [-1, 1] and their ``label``."""
        chosen = self.index[rows]
        images = self.part.images[chosen].float().mul_(2 / self.brightest).sub_(1)
        return Examples(images, {"label": self.part.labels[chosen]} if self.spec.conditions else {})

    def split(self, name: str) -> Dataset:
        """``train`` (itself), ``test``, and ``val`` where a share was set aside for it.

        Raises:
            DataError: there is no such split.
        """
        if name not in ("train", "val", "test"):
            raise DataError(f"{type(self).__name__} has no split '{name}'; it has: train, val, test")
        if name == "val" and not self.val and "val" not in self.stored:
            raise DataError(
                f"{type(self).__name__} keeps no split 'val' unless told so: set val to a share, 0.1"
            )
        if name == self._split:
            return self
        # A shallow copy: the splits share what has been read.
        other = copy.copy(self)
        other.__dict__.pop("index", None)
        other._split = name
        return other
