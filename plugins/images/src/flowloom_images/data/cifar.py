"""CIFAR-10, binary and python versions."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom_images.data.cifar_python import read_python_batch
from flowloom_images.data.idx import read_bytes
from flowloom_images.data.images import PixelDataset, Pixels

_RECORD = 1 + 3 * 32 * 32
_PLACES = ("cifar10", "cifar-10", "CIFAR10", "cifar", "")


@dataclass(frozen=True)
class _Version:
    """One of the two forms in which the set is handed out.

    Args:
        folder: that its archive unpacks to.
        archive: name of the archive.
        suffix: of the batch files.
        parse: content and name of a batch file to images and labels.
    """

    folder: str
    archive: str
    suffix: str
    parse: Callable[[bytes, str], tuple[Tensor, Tensor]]


def read_binary_batch(raw: bytes, where: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one batch file of the binary version: records of a label and 3,072 pixels.

    Args:
        raw: content of the file.
        where: name of the file, for messages.

    Returns:
        uint8 images ``(n, 3, 32, 32)`` and int64 labels ``(n,)``.

    Raises:
        DataError: the content is no whole number of records, or a label exceeds 9.
    """
    if not raw or len(raw) % _RECORD:
        raise DataError(
            f"{where} has {len(raw)} bytes, which is no whole number of records of {_RECORD}; "
            "it is truncated or no CIFAR-10 batch, get it anew"
        )
    records = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, _RECORD)
    labels = records[:, 0].long()
    if int(labels.max()) > 9:
        raise DataError(f"{where} holds label {int(labels.max())}; CIFAR-10 has 0 to 9 (is it another set?)")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


_VERSIONS = (
    _Version("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", read_binary_batch),
    _Version("cifar-10-batches-py", "cifar-10-python.tar.gz", "", read_python_batch),
)


class CIFAR10(PixelDataset):
    """60,000 colour photographs of 32 x 32 pixels in ten classes (Krizhevsky, 2009).

    Both the binary and the python version are read, unpacked or as their archives, from ``cifar10/``,
    ``cifar-10/``, ``CIFAR10/`` or ``cifar/`` under ``$FLOWLOOM_DATA``, or there itself; otherwise the
    binary version is downloaded. Nothing is ever unpickled.

    Args:
        root: folder to search instead of ``$FLOWLOOM_DATA``.
        download: whether a missing archive (162 MB) may be downloaded.
        val: share of the training part carved off as split ``val``, by class and ``seed``.
        seed: of that split.
    """

    shape = (3, 32, 32)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    home = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    checksum = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

    def __init__(
        self,
        root: Path | None = None,
        download: bool = True,
        val: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(val, seed)
        self.root, self.download = root, download

    def read(self, part: str) -> Pixels:
        """The images of part ``train`` or ``test``.

        Raises:
            DataError: no version is there and none can be downloaded, or a file is damaged.
        """
        stems = ["test_batch"] if part == "test" else [f"data_batch_{i}" for i in range(1, 6)]
        version, content = self._locate(stems)
        batches = [version.parse(raw, where) for raw, where in content]
        return Pixels(
            torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])
        )

    def _locate(self, stems: list[str]) -> tuple[_Version, list[tuple[bytes, str]]]:
        places = folders(self.root, _PLACES)
        for version in _VERSIONS:
            inside = [place / sub for place in places for sub in (version.folder, "")]
            names = [f"{stem}{version.suffix}" for stem in stems]
            first = find(inside, _gzipped(names[0]))
            if first is not None:
                return version, [_content(first.parent, name) for name in names]
            archive = find(places, (version.archive, version.archive.removesuffix(".gz")))
            if archive is not None:
                return version, _members(archive, names)
        binary = _VERSIONS[0]
        try:
            if not self.download:
                raise DataError("downloading is off (download: false)")
            archive = fetch([self.home], self.checksum, places[0] / binary.archive)
        except DataError as error:
            archives = " or ".join(version.archive for version in _VERSIONS)
            raise DataError(
                f"CIFAR10 found neither {archives} nor their unpacked files in "
                f"{', '.join(str(place) for place in places)}; {error}"
            ) from error
        return binary, _members(archive, [f"{stem}{binary.suffix}" for stem in stems])


def _gzipped(name: str) -> tuple[str, str]:
    return name, f"{name}.gz"


def _content(folder: Path, name: str) -> tuple[bytes, str]:
    path = find([folder], _gzipped(name))
    if path is None:
        raise DataError(
            f"CIFAR10 lacks {name} in {folder}, beside other files of the set; unpack the archive anew"
        )
    return read_bytes(path), str(path)


def _members(archive: Path, names: list[str]) -> list[tuple[bytes, str]]:
    found: dict[str, bytes] = {}
    try:
        # Members are read in memory and never unpacked to paths that the archive chooses.
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                # A link would be followed to wherever it points.
                if member.isfile() and name in names and (file := tar.extractfile(member)) is not None:
                    found[name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive} is truncated or damaged ({error}); delete it and get it anew") from error
    for name in names:
        if name not in found:
            raise DataError(f"{archive} has no member {name}; it is not the archive of CIFAR-10, get it anew")
    return [(found[name], f"{archive}:{name}") for name in names]
