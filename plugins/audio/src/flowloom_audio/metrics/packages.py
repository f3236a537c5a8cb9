"""Packages that judge: imported when a judge is made, and missed in one line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flowloom.errors import MissingDependencyError

__all__ = ["package_of"]


def package_of(who: str, module: str, *install: str) -> Any:
    """A module of a package that users need not have.

    Args:
        who: needs it, such as ``metric stoi``.
        module: to import.
        install: what pip is asked for; the module's own name where nothing is given.

    Raises:
        MissingDependencyError: it, or what it imports, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        wanted = " ".join(install or (module.partition(".")[0],))
        missing = (error.name or module).partition(".")[0]
        raise MissingDependencyError(
            f"{who} needs the package {missing}; pip install {wanted}, or flowloom-audio[judges]"
        ) from error
