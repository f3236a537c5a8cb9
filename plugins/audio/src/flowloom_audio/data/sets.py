"""Data sets of recordings: spoken digits, and folders in the layouts of published speech."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom_audio.data.clips import Clip, Layout, clips_of
from flowloom_audio.data.recordings import Recordings

__all__ = ["AudioFolder", "SpokenDigits"]

_DIGITS_HOME = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip"
_HOMES: dict[Layout, tuple[str, str]] = {
    "ljspeech": ("LJSpeech-1.1", "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"),
    "libritts": ("LibriTTS/train-clean-100", "https://www.openslr.org/resources/60/train-clean-100.tar.gz"),
    "vctk": (
        "VCTK-Corpus-0.92",
        "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
    ),
}
"""Folder under the data home, and where it can be had; none of their homes states a SHA-256."""


@dataclass(eq=False, repr=False)
class SpokenDigits(Recordings):
    """The Free Spoken Digit Dataset: ``{digit}_{speaker}_{take}.wav``, 8 kHz, any speakers and rates.

    ``test`` is takes 0 to 4, as its authors have it. Files are looked for in ``root``, else in ``fsdd`` and
    ``free-spoken-digit-dataset/recordings`` of the data home (``$FLOWLOOM_DATA``), and downloaded where they
    are in neither.

    Args:
        root: folder of the recordings.
        rate: see `Recordings`, as the others.
        seconds: see there.
        join: see there.
        rows: see there.
        pause: see there.
        prompt: see there.
        symbols: see there.
        text_length: see there.
        level: see there.
        trim: see there.
        mix: see there.
        speakers: see there.
        unseen: see there.
        seed: see there.
    """

    root: Path | None = None
    _: KW_ONLY
    rate: int = 8000
    seconds: float = 1.024
    text_length: int = 24

    def clips(self) -> list[Clip]:
        """Every recording."""
        return clips_of(self._folder(), "spoken-digits")

    def belongs(self, clip: Clip, split: str) -> bool:
        """Takes 0 to 4 are the test split."""
        return (clip.take < 5) == (split == "test")

    def _folder(self) -> Path:
        places = ["fsdd", "free-spoken-digit-dataset/recordings"]
        candidates = [Path(self.root).expanduser()] if self.root else folders(None, places)
        for place in candidates:
            if place.is_dir():
                return place
        if self.root:
            raise DataError(f"there is no folder {self.root}")
        target = folders(None, ["free-spoken-digit-dataset"])[0]
        return _unpacked(_DIGITS_HOME, target / "recordings", "free-spoken-digit-dataset-master/recordings")


@dataclass(eq=False, repr=False)
class AudioFolder(Recordings):
    """A folder of WAV, FLAC or OGG files with transcripts; a tenth of the files is ``test``, by their names.

    At least one file is: of a folder of five, four are left for training.

    Args:
        folder: of the recordings; for a published layout its usual folder in the data home where None, which
            is downloaded where it is not there.
        layout: how files are named and transcripts written. ``plain``: sound files anywhere below,
            ``NAME.txt`` beside each or none, the speaker being the folder that a file is in; ``ljspeech``:
            ``metadata.csv`` (name, text, normalised text, between ``|``) beside ``wavs``; ``libritts``:
            ``speaker/chapter/NAME.wav`` with ``NAME.normalized.txt``; ``vctk``: ``wav48*/speaker/NAME.*``
            with ``txt/speaker/NAME.txt``; ``spoken-digits``: ``{digit}_{speaker}_{take}.wav``.
        rate: see `Recordings`, as the others.
        seconds: see there.
        join: see there.
        rows: see there.
        pause: see there.
        prompt: see there.
        symbols: see there.
        text_length: see there.
        level: see there.
        trim: see there.
        mix: see there.
        speakers: see there.
        unseen: see there.
        seed: see there.
    """

    folder: Path | None = None
    layout: Layout = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folder is None and self.layout not in _HOMES:
            raise ValueError(f"give the folder; only {', '.join(_HOMES)} are known by name")
        self._held_out: frozenset[Path] | None = None

    def clips(self) -> list[Clip]:
        """Every recording."""
        return clips_of(self._found(), self.layout)

    def belongs(self, clip: Clip, split: str) -> bool:
        """A tenth is test, by a hash of the name: files that are added later move no other.

        Where that is none of the few files there are, it is the one with the smallest hash.
        """
        if self._held_out is None:
            left_out = self.left_out
            seen = [one.file for one in self.everything() if one.speaker not in left_out]
            tenth = frozenset(file for file in seen if _hash(file)[0] % 10 == 0)
            self._held_out = tenth or frozenset([min(seen, key=_hash)])
        return (clip.file in self._held_out) == (split == "test")

    def _found(self) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser()
        name, home = _HOMES[self.layout]
        place = folders(None, [name])[0]
        if not place.is_dir():
            return _unpacked(home, place, name)
        return place


def _hash(file: Path) -> bytes:
    """Of the name, wherever the file lies."""
    return hashlib.sha256(file.name.encode()).digest()


def _unpacked(home: str, place: Path, name: str) -> Path:
    """The folder ``place`` of what an archive holds, which is downloaded where it does not lie beside it.

    All is unpacked beside ``place`` and moved there once complete: what an interruption leaves would be
    taken for the whole.

    Args:
        home: where the zip or tar file can be had.
        place: of what is inside.
        name: path of the content inside (``LibriTTS/train-clean-100``); archives without it are all content.

    Raises:
        DataError: it cannot be had, is damaged, or has no room; says what to do.
    """
    archive = find([place.parent], [Path(home).name]) or fetch([home], None, place.parent / Path(home).name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=place.parent, prefix=f".{place.name}.", suffix=".part"
        ) as partial:
            inside = Path(partial, "content")
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as file:
                    file.extractall(inside)
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(inside, filter="data")
            (inside / name if (inside / name).is_dir() else inside).replace(place)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"cannot unpack {archive}: {error}; remove it and try again") from error
    return place
