"""Entries of maps in a file of MessagePack, one at a time, however large the maps are."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from flowloom.errors import DataError, MissingDependencyError
from flowloom_molecules.data.refused import Refusal

__all__ = ["entries"]


def entries(file: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of all maps that the file holds one after the other.

    Where the file ends or breaks within an entry, the last value is a `Refusal` that says so.

    Args:
        file: ``.msgpack``, perhaps packed as ``.gz``, or the only such file in a ``.tar.gz``.

    Raises:
        DataError: it cannot be opened, or holds no maps.
        MissingDependencyError: the package msgpack is not installed.
    """
    try:
        import msgpack
    except ImportError as error:
        raise MissingDependencyError(
            "data geom-drugs needs the package msgpack; pip install msgpack, or flowloom-molecules[geom]"
        ) from error
    with ExitStack() as opened:
        # Reading by hand, entry by entry: one of these maps of a thousand molecules fills gigabytes.
        reader = msgpack.Unpacker(
            _AsItComes(_opened(file, opened)),
            read_size=1 << 16,
            max_buffer_size=1 << 30,
            strict_map_key=False,
        )
        begun = False
        while True:
            try:
                left = reader.read_map_header()
            except msgpack.OutOfData:
                if not begun:
                    raise DataError(f"{file} is empty, or no MessagePack") from None
                return
            except (ValueError, OSError, EOFError, tarfile.TarError) as error:
                if not begun:
                    raise DataError(f"{file} is no MessagePack of maps, one after the other") from error
                yield "", Refusal("the file is damaged from here on")
                return
            begun = True
            for _ in range(left):
                key = ""
                try:
                    key = str(reader.unpack())
                    value = reader.unpack()
                except msgpack.OutOfData:
                    yield key, Refusal("the file ends here")
                    return
                except (ValueError, OSError, EOFError, tarfile.TarError, msgpack.UnpackException):
                    yield key, Refusal("the file is damaged from here on")
                    return
                yield key, value


class _AsItComes:
    """A stream that gives what there is: where a packed file was cut, all that came before is read."""

    def __init__(self, stream: BufferedReader) -> None:
        self.read = stream.read1


def _opened(file: Path, stack: ExitStack) -> BufferedReader:
    try:
        if file.name.lower().endswith((".tar.gz", ".tgz")):
            tar = stack.enter_context(tarfile.open(file, "r|gz"))  # noqa: SIM115  (the stack closes it)
            for member in tar:
                if member.isfile() and member.name.lower().endswith(".msgpack"):
                    return cast("BufferedReader", tar.extractfile(member))
            raise DataError(f"{file} holds no file that ends on .msgpack")
        if file.suffix.lower() == ".gz":
            return cast("BufferedReader", stack.enter_context(gzip.open(file, "rb")))
        return stack.enter_context(open(file, "rb"))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
