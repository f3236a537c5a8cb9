"""A folder of image files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from flowloom.data.files import files_below, is_hidden
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_images.data.images import PixelDataset, Pixels
from flowloom_images.data.splits import stratified

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that count as images, in either case."""

_SPLITS = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}
"""Names of the folders of splits, in either case."""


class ImageFolder(PixelDataset):
    """The image files of a folder, resized and cropped to squares as they are asked for.

    Where every image lies in a subfolder, the first folders below ``path`` are the classes, by name. A
    folder that holds ``train/`` and ``test/`` or ``val/`` (or ``training``, ``testing``, ``valid``,
    ``validation``, in either case) is taken as split already (without ``test/``, ``val/`` is both); where all
    images lie below ``train/``, that is the folder. What is hidden (names that begin with a dot,
    ``__MACOSX``) is no data. Grey files of 16 bits are scaled from their whole range.

    Args:
        path: of the folder.
        size: height and width of the images: the shorter side is resized to it, the rest cropped evenly.
        channels: 3 for colour, 1 for grey.
        test: share held out as split ``test``, by class and ``seed``, unless the folder is split already.
        cache: how many decoded images to keep in memory.
        val: share of the training part carved off as split ``val``.
        seed: of the splits.
        background: grey level, 0 to 255, that transparent pixels show.
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
        background: int = 255,
    ) -> None:
        super().__init__(val, seed)
        if not 0 <= background <= 255:
            raise DataError(f"background is a grey level from 0 to 255, got {background}")
        if channels not in (1, 3) or size < 1 or cache < 0:
            raise DataError(f"channels is 1 or 3, size >= 1, cache >= 0; got {channels}, {size}, {cache}")
        self.path, self.size, self.channels, self.test, self.cache = path, size, channels, test, cache
        self.background = background
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
            top = next((parts[0] for parts in below if len(parts) == 1), None)
            classes = tuple(sorted({parts[0] for parts in below if len(parts) > 1}))
            if classes and top is not None:
                warnings.warn(
                    f"{root}: {top} lies beside the folders {', '.join(classes[:5])}, so there are no "
                    "classes",
                    stacklevel=2,
                )
            empty = sorted(set(_subfolders(root)) - set(classes)) if classes and top is None else []
            if empty:
                said = f"{root}: folders without image files are no classes: {', '.join(empty[:5])}"
                warnings.warn(said, stacklevel=2)
            self._classes = classes if top is None else ()
        return self._classes

    @property
    def stored(self) -> tuple[str, ...]:
        """``train`` and ``test``, and ``val`` where it is on disk.

        Raises:
            DataError: a share is asked for as ``val``, and ``val/`` is on disk.
        """
        found = self._folders()
        if self.val and "val" in found:
            raise DataError(f"{found['val']} is on disk already; leave val, the share, at 0")
        return ("train", "test", "val") if "val" in found else ("train", "test")

    def read(self, part: str) -> Pixels:
        """The files of a part, not yet decoded.

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
        if "test" not in self._folders():
            kept, held = stratified(labels, self.test, self.seed)
            rows = held if part == "test" else kept
            files, labels = [files[i] for i in rows.tolist()], labels[rows]
        return Pixels(_Decoded(files, self.size, self.channels, self.cache, self.background), labels)

    def _folders(self) -> dict[str, Path]:
        """The folders of splits that are on disk, by split; ``train`` alone where nothing is split."""
        root = Path(self.path).expanduser()
        found = _splits(root)
        if "train" not in found:
            below = {file.relative_to(root).parts[0] for file in _images_in(root)} if found else set()
            if below and all(name.lower() in (*_SPLITS["test"], *_SPLITS["val"]) for name in below):
                there = " and ".join(sorted(below))
                raise DataError(f"{root} holds {there} and no folder train; give the path of one of them")
            return {"train": root}
        if len(found) == 1:
            below = {file.relative_to(root).parts[0] for file in _images_in(root)}
            return {"train": found["train"] if below == {found["train"].name} else root}
        return {"test": found.get("val", root), **found}

    def _part(self, part: str) -> Path:
        found = self._folders()
        return found.get(part, found["train"])


class _Decoded:
    """Image files that are decoded when rows of them are asked for."""

    def __init__(self, files: Sequence[Path], size: int, channels: int, cache: int, background: int) -> None:
        self.files, self.size, self.channels, self.cache = files, size, channels, cache
        self.background = background
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.stack([self._image(row) for row in rows.tolist()])

    def _image(self, row: int) -> Tensor:
        if row in self._kept:
            return self._kept[row]
        image = read_image(self.files[row], self.size, self.channels, self.background)
        if len(self._kept) < self.cache:
            self._kept[row] = image
        return image


def read_image(path: Path, size: int, channels: int, background: int = 255) -> Tensor:
    """One image file as uint8 ``(channels, size, size)``: turned upright, resized, cropped in the middle.

    Args:
        path: of the file.
        size: height and width of the result.
        channels: 3 for colour, 1 for grey.
        background: grey level that transparent pixels show.

    Raises:
        DataError: the file cannot be read as an image, or its values have no known range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                upright = _in_eight_bits(ImageOps.exif_transpose(file), background)
                square = ImageOps.fit(
                    upright.convert("L" if channels == 1 else "RGB"), (size, size), Image.Resampling.BICUBIC
                )
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise DataError(f"{path} cannot be read as an image ({error}); mend or remove it") from error
    return torch.from_numpy(np.array(square)).view(size, size, channels).permute(2, 0, 1)


def _in_eight_bits(image: Image.Image, background: int) -> Image.Image:
    """Deep greys scaled to 8 bits, and transparency laid over a background.

    Raises:
        ValueError: 32-bit values, whose range nobody says.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its values run from {values.min()} to {values.max()}, beyond 16 bits")
        return Image.fromarray((values / 257 + 0.5).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are 32-bit floats, whose range is not known")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, (background,) * 3 + (255,)), layered)
    return image


def _subfolders(root: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden, sorted."""
    there = root.iterdir() if root.is_dir() else ()
    return sorted(one.name for one in there if one.is_dir() and not is_hidden(one.name))


def _splits(root: Path) -> dict[str, Path]:
    """The folders that are named for splits, by split; the first of its names where there are several."""
    there = _subfolders(root)
    found = {}
    for split, names in _SPLITS.items():
        # Written as here comes before capitals.
        own = sorted(
            (names.index(one.lower()), one not in names, one) for one in there if one.lower() in names
        )
        if own:
            found[split] = root / own[0][2]
    return found


def _images_in(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the path of a folder of image files")
    files = [path for path in files_below(root) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(f"{root} holds no image files; endings that count are {' '.join(SUFFIXES)}")
    return files
