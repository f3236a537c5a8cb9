"""Where data files lie, and how missing ones come."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from flowloom.errors import DataError

TINYSHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TINYSHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def data_home() -> Path:
    """``$FLOWLOOM_DATA``, or ``flowloom/data`` in the user's cache folder."""
    given = os.environ.get("FLOWLOOM_DATA")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flowloom" / "data"


def fetch(url: str, target: Path, sha256: str) -> Path:
    """Download ``url`` to ``target`` unless it is there; a file that arrives damaged is not kept.

    Raises:
        DataError: no connection, no permission, or another checksum.
    """
    if target.is_file():
        return target
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            partial = Path(file.name)
            with urllib.request.urlopen(url, timeout=60) as answer:
                shutil.copyfileobj(answer, file)
        found = hashlib.sha256(partial.read_bytes()).hexdigest()
        if found != sha256:
            raise DataError(f"{url} arrived with checksum {found[:12]}..., expected {sha256[:12]}...")
        partial.replace(target)
    except (OSError, urllib.error.URLError) as error:
        raise DataError(
            f"cannot download {url} to {target}: {error}; put the file there yourself, or set FLOWLOOM_DATA "
            "to a folder that has it"
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def tinyshakespeare() -> Path:
    """``text/tinyshakespeare.txt`` under `data_home`, downloaded (1.1 MB) where it is missing."""
    return fetch(TINYSHAKESPEARE, data_home() / "text" / "tinyshakespeare.txt", TINYSHAKESPEARE_SHA256)


def read_utf8(file: Path) -> str:
    """The text of a file.

    Raises:
        DataError: the file is missing, empty, or not UTF-8; the message says at which byte.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    if not raw:
        raise DataError(f"{file} is empty")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}; "
            "convert it (iconv -t UTF-8), or read it with level: bytes"
        ) from error
