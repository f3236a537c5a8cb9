"""The small pictures of a report (strips, pairs, frames of a player), drawn once and kept in ``samples/``."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowloom.errors import RunError
from flowloom.renderers import Figure
from flowloom_registry.runs.folder import read_json, write_bytes, write_text

__all__ = ["Pictures", "read_answers", "read_figures", "read_pictures", "write_figures", "write_pictures"]

_ENDINGS = {"image/png": "png", "image/svg+xml": "svg", "audio/wav": "wav", "text/html": "html"}


@dataclass
class Pictures:
    """What ``samples/pictures.json`` holds.

    Args:
        alone: whether each picture shows one example; else each shows many.
        samples: generated.
        real: held-out examples beside them, of the same classes.
        near: a sample, and the training example nearest to it.
        searched: training examples among which the nearest was sought.
        frames: time, and the pictures at that time.
    """

    alone: bool = True
    samples: list[Figure] = field(default_factory=list)
    real: list[Figure] = field(default_factory=list)
    near: list[tuple[Figure, Figure]] = field(default_factory=list)
    searched: int = 0
    frames: list[tuple[float, list[Figure]]] = field(default_factory=list)


def write_pictures(pictures: Pictures, folder: Path) -> None:
    """Write ``pictures.json`` into the folder of samples."""
    value = {
        "alone": pictures.alone,
        "samples": [_plain(one) for one in pictures.samples],
        "real": [_plain(one) for one in pictures.real],
        "near": [[_plain(a), _plain(b)] for a, b in pictures.near],
        "searched": pictures.searched,
        "frames": [[time, [_plain(one) for one in shown]] for time, shown in pictures.frames],
    }
    write_text(folder / "pictures.json", json.dumps(value) + "\n")


def read_pictures(folder: Path) -> Pictures:
    """The pictures of a folder of samples; none where the run has none.

    Raises:
        RunError: the file is damaged.
    """
    file = folder / "pictures.json"
    if not file.exists():
        return Pictures()
    value = read_json(file)
    try:
        return Pictures(
            bool(value["alone"]),
            [_picture(one) for one in value["samples"]],
            [_picture(one) for one in value["real"]],
            [(_picture(a), _picture(b)) for a, b in value["near"]],
            int(value["searched"]),
            [(float(time), [_picture(one) for one in shown]) for time, shown in value["frames"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{file} is damaged: {type(error).__name__} {error}") from error


def write_figures(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write every figure to a file named for its title."""
    return [_write(figure, folder) for figure in figures]


def list_figures(figures: Mapping[str, Sequence[Figure]], folder: Path) -> None:
    """Write the figures of a report, and ``figures.json``, which says what each file is.

    Args:
        figures: ``samples``, ``trajectory`` and ``flow``, as renderers have them.
        folder: of the samples.
    """
    index = [{"shows": what, **listed(one, folder)} for what, ones in figures.items() for one in ones]
    write_text(folder / "figures.json", json.dumps({"figures": index}, indent=2) + "\n")


def read_figures(folder: Path) -> dict[str, list[Figure]]:
    """The figures that ``figures.json`` lists, by what they show; none where there is no such file.

    Raises:
        RunError: the list is damaged, or a figure is missing.
    """
    file = folder / "figures.json"
    if not file.exists():
        return {}
    found: dict[str, list[Figure]] = {}
    with _whole(file):
        for one in read_json(file)["figures"]:
            found.setdefault(str(one["shows"]), []).append(_read(one, folder))
    return found


def read_answers(folder: Path) -> dict[str, list[Figure]]:
    """The figures of every task that ``tasks.json`` lists; none where there is no such file.

    Raises:
        RunError: the list is damaged, or a figure is missing.
    """
    file = folder / "tasks.json"
    if not file.exists():
        return {}
    with _whole(file):
        return {
            name: [_read(one, folder) for one in task["figures"]] for name, task in read_json(file).items()
        }


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Inside, what an index lacks or should not hold is told as damage of its file."""
    try:
        yield
    except (OSError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {type(error).__name__} {error}") from error


def _read(one: Mapping[str, Any], folder: Path) -> Figure:
    # A name, so that nothing outside of this folder is read.
    data = (folder / Path(str(one["file"])).name).read_bytes()
    return Figure(str(one["title"]), str(one["mime"]), data, str(one["caption"]))


def listed(figure: Figure, folder: Path) -> dict[str, str]:
    """Write a figure, and what an index says of it."""
    told = {"title": figure.title, "mime": figure.mime, "caption": figure.caption}
    return {**told, "file": _write(figure, folder).name}


def slug(words: str) -> str:
    """Words as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "figure"


def _write(figure: Figure, folder: Path) -> Path:
    file = folder / f"{slug(figure.title)}.{_ENDINGS.get(figure.mime, 'bin')}"
    write_bytes(file, figure.data)
    return file


def _plain(picture: Figure) -> dict[str, str]:
    data = base64.b64encode(picture.data).decode()
    return {"title": picture.title, "mime": picture.mime, "data": data}


def _picture(value: Any) -> Figure:
    return Figure(str(value["title"]), str(value["mime"]), base64.b64decode(value["data"], validate=True))
