"""Packages that judge: imported when a judge is made, and missed in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flowloom.errors import MissingDependencyError

__all__ = ["lacking", "needed_by"]


@contextmanager
def needed_by(who: str, *install: str) -> Iterator[None]:
    """Around the import of a package that users need not have.

    Args:
        who: needs it, such as ``metric stoi``.
        install: what pip is asked for; the name of what is missing where nothing is given.

    Raises:
        MissingDependencyError: it, or what it imports, is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise lacking(who, missing, *(install or (missing,))) from error


def lacking(who: str, package: str, *install: str) -> MissingDependencyError:
    """What is told where a package is not installed.

    Args:
        who: needs it.
        package: that is missing.
        install: what pip is asked for.
    """
    return MissingDependencyError(
        f"{who} needs the package {package}; pip install {' '.join(install)}, or flowloom-audio[judges]"
    )
