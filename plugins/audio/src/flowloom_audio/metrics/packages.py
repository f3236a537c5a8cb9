"""Packages that judge: imported when a judge is made, and missed in one line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flowloom.errors import MissingDependencyError

__all__ = ["lacking", "package_of"]


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
        missing = (error.name or module).partition(".")[0]
        raise lacking(who, missing, *(install or (module.partition(".")[0],))) from error


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
