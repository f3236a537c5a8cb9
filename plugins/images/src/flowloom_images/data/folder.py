"""A folder of image files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_images.data.images import PixelDataset, Pixels
from flowloom_images.data.splits import stratified

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that count as images, in either case."""


class ImageFolder(PixelDataset):
    """The image files of a folder, resized and cropped to squares as they are asked for.

    Where every image lies in a subfolder, the first folders below ``path`` are the classes, by name. A
    folder that holds ``train/`` and ``test/`` (or ``val/``) is taken as split already.

    Args:
        path: of the folder.
        size: height and width of the images: the shorter side is resized to it, the rest cropped evenly.
        channels: 3 for colour, 1 for grey.
        test: share held out as split ``test``, by class and ``seed``, unless the folder is split already.
        cache: how many decoded images to keep in memory.
        val: share of the training part carved off as split ``val``.
        seed: of the splits.
    """

    reads_files = True  # worth a thread of its own beside the training step

    def __init__(
        self,
        path: Path,
        size: int = 64,
        channels: int = 3,
        test: float = 0.1,
        cache: int = 0,
        val: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(val, seed)
        if channels not in (1, 3) or size < 1 or cache < 0:
            raise DataError(f"channels is 1 or 3, size >= 1, cache >= 0; got {channels}, {size}, {cache}")
        self.path, self.size, self.channels, self.test, self.cache = path, size, channels, test, cache
        self._classes: tuple[str, ...] | None = None

    @property
    def spec(self) -> Spec:
        """Images ``(channels, size, size)`` in [-1, 1]; the class id as ``label`` if there are classes."""
        classes = self.classes
        conditions = {"label": Condition(len(classes), names=classes)} if classes else {}
        shape = (self.channels, self.size, self.size)
        return Spec(shape=shape, conditions=conditions, limits=(-1.0, 1.0))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where images lie in ``path`` itself."""
        if self._classes is None:
            root = self._part("train")
            below = [file.relative_to(root).parts for file in _images_in(root)]
            nested = all(len(parts) > 1 for parts in below)
            self._classes = tuple(sorted({parts[0] for parts in below})) if nested else ()
        return self._classes

    def read(self, part: str) -> Pixels:
        """The files of part ``train`` or ``test``, not yet decoded.

        Raises:
            DataError: the folder is missing or holds no images.
        """
        root = self._part(part)
        files = _images_in(root)
        labels = torch.zeros(len(files), dtype=torch.int64)
        if self.classes:
            known = {name: i for i, name in enumerate(self.classes)}
            try:
                labels = torch.tensor([known[file.relative_to(root).parts[0]] for file in files])
            except KeyError as error:
                raise DataError(f"{root} holds class {error} that the training part has not") from error
        if not self._is_split:
            kept, held = stratified(labels, self.test, self.seed)
            rows = held if part == "test" else kept
            files, labels = [files[i] for i in rows.tolist()], labels[rows]
        return Pixels(_Decoded(files, self.size, self.channels, self.cache), labels)

    @property
    def _is_split(self) -> bool:
        root = Path(self.path).expanduser()
        return (root / "train").is_dir() and any((root / name).is_dir() for name in ("test", "val"))

    def _part(self, part: str) -> Path:
        root = Path(self.path).expanduser()
        if not self._is_split:
            return root
        return root / (part if (root / part).is_dir() else "val")


class _Decoded:
    """Image files that are decoded when rows of them are asked for."""

    def __init__(self, files: Sequence[Path], size: int, channels: int, cache: int) -> None:
        self.files, self.size, self.channels, self.cache = files, size, channels, cache
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.stack([self._image(row) for row in rows.tolist()])

    def _image(self, row: int) -> Tensor:
        if row in self._kept:
            return self._kept[row]
        image = read_image(self.files[row], self.size, self.channels)
        if len(self._kept) < self.cache:
            self._kept[row] = image
        return image


def read_image(path: Path, size: int, channels: int) -> Tensor:
    """One image file as uint8 ``(channels, size, size)``: turned upright, resized, cropped in the middle.

    Raises:
        DataError: the file cannot be read as an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                upright = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
                square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); mend or remove it") from error
    return torch.from_numpy(np.array(square)).view(size, size, channels).permute(2, 0, 1)


def _images_in(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the path of a folder of image files")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"{root} holds no image files; endings that count are {' '.join(SUFFIXES)}")
    return files
