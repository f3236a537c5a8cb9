"""Layouts of real documents and screens from annotation files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.files import find, folders, is_hidden
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_images.layouts.spec import layout_spec
from flowloom_registry.errors import one_line

Element = tuple[str, float, float, float, float]
"""Type, left, upper, width and height, in shares of the page."""


class StoredLayouts(Dataset):
    """Layouts read from annotations under ``$FLOWLOOM_DATA``; nothing is downloaded.

    Pages without elements, or with more than ``elements`` of them, are left out, and so are elements of no
    size.

    Args:
        elements: most elements of a page.
        root: folder that holds the data set's own; ``$FLOWLOOM_DATA`` where None.
        part: ``train``, ``val`` or ``test``.
    """

    folder: str
    names: tuple[str, ...]
    home: str

    def __init__(self, elements: int = 20, root: Path | None = None, part: str = "train") -> None:
        self.elements, self.root, self.part = elements, root, part
        self._read: Examples | None = None

    def pages(self, place: Path) -> Iterator[Sequence[Element]]:
        """The elements of every page of ``self.part``."""
        raise NotImplementedError

    @property
    def spec(self) -> Spec:
        """Layouts of ``elements`` elements."""
        return layout_spec(self.elements, self.names)

    def place(self) -> Path:
        """The data set's folder.

        Raises:
            DataError: it is not there; says where it is from and where to put it.
        """
        for place in folders(self.root, [self.folder]):
            if place.is_dir():
                return place
        where = folders(self.root, [self.folder])[0]
        raise DataError(f"no layouts at {where}; get the annotations from {self.home} and unpack them there")

    def examples(self) -> Examples:
        """All pages, padded."""
        if self._read is None:
            kept = (self._kept(page) for page in self.pages(self.place()))
            pages = [page for page in kept if 0 < len(page) <= self.elements]
            if not pages:
                what = f"no page of 1 to {self.elements} elements ({self.part})"
                raise DataError(f"{self.place()} holds {what}")
            self._read = self._padded(pages)
        return self._read

    def _kept(self, page: Sequence[Element]) -> list[Element]:
        return [e for e in page if e[0] in self.names and e[3] > 0 and e[4] > 0]

    def _padded(self, pages: Sequence[Sequence[Element]]) -> Examples:
        boxes = torch.zeros(len(pages), self.elements, 4)
        types = torch.zeros(len(pages), self.elements, dtype=torch.long)
        real = torch.zeros(len(pages), self.elements, dtype=torch.bool)
        for row, page in enumerate(pages):
            for i, (name, left, upper, width, height) in enumerate(page):
                box = [left + width / 2, upper + height / 2, width, height]
                boxes[row, i] = torch.tensor(box).clamp(0, 1)
                types[row, i], real[row, i] = self.names.index(name), True
        return Examples({"position": boxes[..., :2], "size": boxes[..., 2:], "types": types}, {"real": real})

    def __len__(self) -> int:
        return len(self.examples())

    def take(self, rows: Tensor) -> Examples:
        """The pages at ``rows``."""
        return self.examples().take(rows)

    def split(self, name: str) -> Dataset:
        """``train``, ``val`` or ``test``."""
        if name not in ("train", "val", "test"):
            return super().split(name)
        return self if name == self.part else type(self)(self.elements, self.root, name)


class PubLayNet(StoredLayouts):
    """Pages of scientific articles in five types (Zhong et al. 1908.07836), from COCO files.

    Reads ``publaynet/train.json`` and ``val.json``. As in layout papers, ``test`` is the published validation
    split, and ``val`` every twentieth page of the training split, which ``train`` then lacks.

    Args:
        elements: most elements of a page.
        root: folder that holds ``publaynet``; ``$FLOWLOOM_DATA`` where None.
        part: ``train``, ``val`` or ``test``.
    """

    folder = "publaynet"
    names = ("text", "title", "list", "table", "figure")
    home = "https://developer.ibm.com/exchanges/data/all/publaynet/"

    def pages(self, place: Path) -> Iterator[Sequence[Element]]:
        """From the annotations of all boxes of an image."""
        wanted = "val.json" if self.part == "test" else "train.json"
        file = find([place, place / "annotations"], [wanted])
        if file is None:
            raise DataError(f"{place} lacks {wanted}; get it from {self.home}")
        with _telling(file):
            told = json.loads(file.read_text(encoding="utf-8"))
            names = {c["id"]: c["name"] for c in told["categories"]}
            sizes = {image["id"]: (image["width"], image["height"]) for image in told["images"]}
            boxes: dict[Any, list[Element]] = {key: [] for key in sizes}
            annotations = list(told["annotations"])
        for i, one in enumerate(annotations):
            with _telling(file, f"annotation {i}"):
                (width, height), (x, y, w, h) = sizes[one["image_id"]], one["bbox"]
                element = (names[one["category_id"]], x / width, y / height, w / width, h / height)
                boxes[one["image_id"]].append(element)
        for i, page in enumerate(boxes.values()):
            if self.part == "test" or (i % 20 == 0) == (self.part == "val"):
                yield page


class RICO(StoredLayouts):
    """Screens of Android applications in 25 types (Liu et al. 2018), from semantic annotations.

    Reads ``rico/semantic_annotations/*.json``, trees of components with ``componentLabel`` and ``bounds``.
    Screens are split 85 : 5 : 10 by their number.

    Args:
        elements: most elements of a screen.
        root: folder that holds ``rico``; ``$FLOWLOOM_DATA`` where None.
        part: ``train``, ``val`` or ``test``.
    """

    folder = "rico"
    names = (
        "Text", "Image", "Icon", "Text Button", "List Item", "Input", "Background Image", "Card",
        "Web View", "Radio Button", "Drawer", "Checkbox", "Advertisement", "Modal", "Pager Indicator",
        "Slider", "On/Off Switch", "Button Bar", "Toolbar", "Number Stepper", "Multi-Tab", "Date Picker",
        "Map View", "Video", "Bottom Navigation",
    )  # fmt: skip
    home = "http://www.interactionmining.org/rico.html"

    def pages(self, place: Path) -> Iterator[Sequence[Element]]:
        """From the labelled components of every screen's tree."""
        files = sorted((place / "semantic_annotations").glob("*.json"))
        for i, file in enumerate(one for one in files if not is_hidden(one.name)):
            share = i % 20
            if ("test" if share < 2 else "val" if share == 2 else "train") == self.part:
                with _telling(file):
                    tree = json.loads(file.read_text(encoding="utf-8"))
                    _, _, width, height = tree["bounds"]
                    page = list(_labelled(tree, width, height))
                yield page


@contextmanager
def _telling(file: Path, part: str = "it") -> Iterator[None]:
    """Inside, what a file lacks or should not hold is told with its name."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: {part} holds no annotations of this kind ({one_line(error)})") from error


def _labelled(node: dict[str, Any], width: float, height: float) -> Iterator[Element]:
    if "componentLabel" in node:
        left, upper, right, lower = node["bounds"]
        yield (
            str(node["componentLabel"]),
            left / width,
            upper / height,
            (right - left) / width,
            (lower - upper) / height,
        )
    for child in node.get("children", ()):
        yield from _labelled(child, width, height)
