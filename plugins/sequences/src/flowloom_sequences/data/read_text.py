"""Text as files hold it."""

from __future__ import annotations

from pathlib import Path

from flowloom.errors import DataError


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
