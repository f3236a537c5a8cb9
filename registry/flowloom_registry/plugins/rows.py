"""What the catalog holds: one frozen row for each component and recipe, one for each plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Plugin:
    """An installed plugin.

    Args:
        name: name of its entry point.
        distribution: pip name, empty when it was handed over in Python.
        version: version of the distribution, empty as above.
    """

    name: str
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded.

    Args:
        plugin: which one.
        error: its error in one line.
        trace: the full traceback.
    """

    plugin: Plugin
    error: str
    trace: str


@dataclass(frozen=True)
class Row:
    """One component that a recipe can name.

    Args:
        kind: what it is (``geometry``, ``solver`` ...).
        name: word that a recipe uses.
        target: where the class or factory lives, ``module:attribute`` (or ``/folder/file.py:attribute``).
        summary: one line.
        plugin: who provides it.
        example: tiny constructor arguments from which it can be built and checked.
        paper: arXiv id.
        requires: pip requirements beyond those of the plugin itself.
        tags: free words to search by.
        known_failures: laws of its kind that it is known to break, with the reason; strict.
        data: name of the data set that it is checked on, one of its plugin's or of core's.
        within: name of the recipe, one of its plugin's or of core's, among whose parts it is checked.
        listed: whether a plugin provides it, and not a target written in a recipe.
    """

    kind: str
    name: str
    target: str
    summary: str
    plugin: Plugin
    example: Mapping[str, Any] = field(default_factory=dict, hash=False)
    paper: str | None = None
    requires: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    known_failures: Mapping[str, str] = field(default_factory=dict, hash=False)
    data: str | None = None
    within: str | None = None
    listed: bool = True

    @property
    def qualified(self) -> str:
        """Spelling that is never ambiguous: ``plugin:name``, or the target itself when not from a plugin."""
        return f"{self.plugin.name}:{self.name}" if self.listed else self.target

    @property
    def label(self) -> str:
        """``kind/name``."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class FileRow:
    """One YAML file that a plugin ships.

    Args:
        name: word by which the command line finds it.
        target: ``package:path/inside/it.yaml``.
        summary: one line.
        plugin: who provides it.
        paper: arXiv id.
    """

    kind: ClassVar[str]

    name: str
    target: str
    summary: str
    plugin: Plugin
    paper: str | None = None

    @property
    def qualified(self) -> str:
        """Spelling that is never ambiguous: ``plugin:name``."""
        return f"{self.plugin.name}:{self.name}"


class RecipeRow(FileRow):
    """A recipe: ``flowloom run`` finds it by its name."""

    kind = "recipe"


class ExperimentRow(FileRow):
    """An experiment, many runs compared: ``flowloom experiment`` finds it by its name."""

    kind = "experiment"
