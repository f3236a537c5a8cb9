"""Where data files live, and how a missing one comes: from mirrors, checked, and never half-written."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from flowloom.errors import DataError

_CHUNK = 1 << 18


def data_home() -> Path:
    """``$FLOWLOOM_DATA``, or ``flowloom/data`` in the user's cache folder."""
    given = os.environ.get("FLOWLOOM_DATA")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flowloom" / "data"


def folders(root: Path | None, names: Iterable[str]) -> list[Path]:
    """Folders to search, in order: ``names`` under ``root``, or under the data home where that is None."""
    home = Path(root).expanduser() if root else data_home()
    return [home / name for name in names]


def find(places: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first existing file among ``names`` in the first place that has one, or None."""
    wanted = list(names)
    return next((place / name for place in places for name in wanted if (place / name).is_file()), None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is what file browsers, notebooks and foreign archives leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder and of those in it, sorted; nothing that is hidden below it.

    Links to folders elsewhere are followed; those that lead back into the folder are not, since what they
    show is there already.
    """
    root, found, seen = folder.resolve(), list[Path](), set[Path]()
    for place, names, files in os.walk(folder, followlinks=True):
        found += [Path(place, name) for name in files if not is_hidden(name)]
        kept = []
        for name in names:
            path = Path(place, name)
            if is_hidden(name):
                continue
            if path.is_symlink():
                real = path.resolve()
                back = Path(place).resolve().is_relative_to(real)
                if back or any(real.is_relative_to(one) for one in (root, *seen)):
                    continue
                seen.add(real)
            kept.append(name)
        names[:] = kept
    return sorted(path for path in found if path.is_file())


def fetch(urls: Sequence[str], sha256: str | None, target: Path, timeout: float = 30.0) -> Path:
    """Download a file whole, unless its checksum fails, trying one mirror after the other.

    The file is written beside its target and moved there once complete, so that an interrupted download
    leaves nothing that could be taken for data.

    Args:
        urls: the same file at different homes, best first.
        sha256: checksum that the file must have, None where its home states none.
        target: where to put it; missing folders are made.
        timeout: seconds to wait for an answer.

    Returns:
        ``target``.

    Raises:
        DataError: no mirror gave the right file, whole, or it has no room, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        raise DataError(
            f"cannot write {target.name} into {target.parent} ({error.strerror}); "
            "set FLOWLOOM_DATA to a folder that can be written"
        ) from error
    partial = Path(name)
    troubles = []
    try:
        os.close(handle)
        for url in urls:
            try:
                # Closed within, since what is still held back may find the disk full.
                with partial.open("wb") as file:
                    found = _copy(url, file, target.name, timeout)
            except (OSError, HTTPException, ValueError) as error:  # an answer that is no HTTP
                troubles.append(f"{url}: {getattr(error, 'reason', None) or error}")
                continue
            if sha256 in (None, found):
                break
            troubles.append(f"{url}: the checksum is {found[:12]}... and should be {sha256:.12}...")
        else:
            raise DataError(
                f"could not download {target.name} ({'; '.join(troubles)}); "
                f"get it by other means and put it into {target.parent}"
            )
        partial.chmod(0o644)
        try:
            partial.replace(target)
        except OSError as error:
            raise DataError(f"cannot write {target} ({error.strerror}); remove what is there") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return target


def _copy(url: str, file: IO[bytes], name: str, timeout: float) -> str:
    # Rich comes with flowloom; it shows nothing where standard error is no terminal.
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    digest = hashlib.sha256()
    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with (
        urlopen(url, timeout=timeout) as answer,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        if getattr(answer, "status", None) not in (None, 200):  # a part of it, or nothing
            raise OSError(f"the answer is {answer.status} {answer.reason}")
        told = answer.headers.get("Content-Length")
        length = int(told) if told else None
        if length is not None and length > (free := shutil.disk_usage(os.path.dirname(file.name)).free):
            raise OSError(f"has {length / 1e9:,.1f} GB where {free / 1e9:,.1f} GB are free")
        bar = progress.add_task(name, total=length)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            progress.advance(bar, len(chunk))
    # A connection that ends early raises nothing, and not every home states a checksum.
    if length is not None and file.tell() < length:
        raise OSError(f"the connection ended after {file.tell():,} of {length:,} bytes")
    if not file.tell():
        raise OSError("the file is empty")
    return digest.hexdigest()
