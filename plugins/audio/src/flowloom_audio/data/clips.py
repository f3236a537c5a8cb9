"""Where recordings lie: one clip a line, found in the layouts in which speech is published."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowloom.data.files import files_below
from flowloom.digits import are_digits
from flowloom.errors import DataError
from flowloom_audio.text.frontend import DIGITS

__all__ = ["LAYOUTS", "Clip", "Layout", "clips_of"]

SOUNDS = (".wav", ".flac", ".ogg")
Layout = Literal["plain", "ljspeech", "libritts", "vctk", "spoken-digits"]


@dataclass(frozen=True)
class Clip:
    """One recording.

    Args:
        file: where it is.
        text: what is said; may be empty.
        speaker: who says it; may be empty.
        take: its number among the recordings of the same text and speaker.
    """

    file: Path
    text: str = ""
    speaker: str = ""
    take: int = 0


def clips_of(folder: Path, layout: Layout) -> list[Clip]:
    """Every recording of a folder, sorted by file.

    Args:
        folder: the root of what was published.
        layout: in which files are named and transcripts written:

            * ``plain``: sound files anywhere below, a transcript beside each with the ending ``.txt`` or
              none, the speaker being the folder that the file is in;
            * ``ljspeech``: ``metadata.csv`` (``name|text|normalised text``) beside ``wavs/``;
            * ``libritts``: ``speaker/chapter/name.wav`` with ``name.normalized.txt``;
            * ``vctk``: ``wav48*/speaker/name.*`` with ``txt/speaker/name.txt``, the first microphone of two;
            * ``spoken-digits``: ``{digit}_{speaker}_{take}.wav`` (the Free Spoken Digit Dataset).

    Raises:
        DataError: there is no such folder, or it holds no clip of that layout.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = sorted(LAYOUTS[layout](folder), key=lambda clip: clip.file)
    if not found:
        raise DataError(f"{folder} holds no recordings of layout {layout}; layouts: {', '.join(LAYOUTS)}")
    return found


def _sounds(folder: Path) -> Iterator[Path]:
    return (file for file in files_below(folder) if file.suffix.lower() in SOUNDS)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the transcript {file}: {error}") from error


def _plain(folder: Path) -> Iterator[Clip]:
    for file in _sounds(folder):
        speaker = file.parent.name if file.parent != folder else ""
        yield Clip(file, _text(file.with_suffix(".txt")), speaker)


def _ljspeech(folder: Path) -> Iterator[Clip]:
    table = folder / "metadata.csv"
    if not table.is_file():
        raise DataError(f"{folder} has no metadata.csv, which layout ljspeech reads")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no table of '|' in UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {table}: {error.strerror or error}") from error
    for line in lines:
        yield Clip(folder / "wavs" / f"{line[0]}.wav", line[-1].strip() if len(line) > 1 else "", "lj")


def _libritts(folder: Path) -> Iterator[Clip]:
    for file in _sounds(folder):
        yield Clip(file, _text(file.with_suffix(".normalized.txt")), file.parent.parent.name)


def _vctk(folder: Path) -> Iterator[Clip]:
    for root in sorted(folder.glob("wav48*")):
        heard = set[Path]()
        for file in _sounds(root):
            # The second release has two microphones: p225_001_mic1.flac. Both would put one utterance into
            # two splits, and beside itself as its own prompt.
            name = file.stem.partition("_mic")[0]
            speaker = file.parent.name
            if file.with_name(name) in heard:
                continue
            heard.add(file.with_name(name))
            yield Clip(file, _text(folder / "txt" / speaker / f"{name}.txt"), speaker)


def _spoken_digits(folder: Path) -> Iterator[Clip]:
    for file in _sounds(folder):
        digit, _, rest = file.stem.partition("_")
        speaker, _, take = rest.rpartition("_")
        if digit in map(str, range(10)) and speaker and are_digits(take):
            yield Clip(file, DIGITS[int(digit)], speaker, int(take))


LAYOUTS: dict[Layout, Callable[[Path], Iterator[Clip]]] = {
    "plain": _plain,
    "ljspeech": _ljspeech,
    "libritts": _libritts,
    "vctk": _vctk,
    "spoken-digits": _spoken_digits,
}
