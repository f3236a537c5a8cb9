"""Where data files live, and how one is fetched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.request import urlopen

from flowloom.errors import DataError


def data_home() -> Path:
    """``$FLOWLOOM_DATA``, or ``flowloom/data`` in the user's cache folder."""
    given = os.environ.get("FLOWLOOM_DATA")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flowloom" / "data"


def fetch(url: str, target: Path, sha256: str | None, timeout: float = 30.0) -> Path:
    """Download ``url`` to ``target``, written beside it first and moved there once it is complete.

    Raises:
        DataError: no connection, a checksum that does not match, or no permission to write; says where
            the file may be put by hand.
    """
    by_hand = f"put {target.name} into {target.parent} by hand, or name it with file:"
    try:
        with urlopen(url, timeout=timeout) as answer:
            content = answer.read()
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"could not download {url} ({reason}); {by_hand}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(f"{url} has the checksum {found[:12]}... and should have {sha256[:12]}...; {by_hand}")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {target} ({error.strerror}); set FLOWLOOM_DATA to a folder that can be written"
        ) from error
    return target
