"""What a plugin's ``flowloom_register(reg)`` receives: one method for each thing it can add."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from flowloom_registry.errors import PluginError
from flowloom_registry.plugins.kinds import KINDS, Kind
from flowloom_registry.plugins.rows import Plugin, RecipeRow, Row
from flowloom_registry.plugins.sections import Section

if TYPE_CHECKING:
    from typing_extensions import Unpack

_NAME = re.compile(r"[a-z0-9]+([._+-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RECIPE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[^:\\]+\.ya?ml")
_PAPER = re.compile(r"(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?")


class _Needed(TypedDict):
    summary: str


class RowFields(_Needed, total=False):
    """Keyword arguments that every row takes; only ``summary`` is required."""

    example: Mapping[str, Any] | None
    paper: str | None
    requires: Iterable[str]
    tags: Iterable[str]
    known_failures: Mapping[str, str] | None


class _Add(Protocol):
    def __call__(self, name: str, target: str, **row: Unpack[RowFields]) -> None: ...


class Registrar:
    """Collects the rows of one plugin; nothing it is given is imported.

    Args:
        plugin: whose rows these are.
    """

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.rows: list[Row] = []
        self.recipes: list[RecipeRow] = []
        self.kinds: list[Kind] = []
        self.sections: list[Section] = []

    def add(
        self,
        kind: str,
        name: str,
        target: str,
        *,
        summary: str,
        example: Mapping[str, Any] | None = None,
        paper: str | None = None,
        requires: Iterable[str] = (),
        tags: Iterable[str] = (),
        known_failures: Mapping[str, str] | None = None,
    ) -> None:
        """Add a component.

        Args:
            kind: one of the known kinds, or one added with `kind`.
            name: lower-case word (digits, ``-``, ``.``, ``+`` and ``_`` inside).
            target: the class or factory as ``module:attribute``.
            summary: one line.
            example: tiny constructor arguments as YAML could hold them; ``{use: name}`` nests components.
            paper: arXiv id, e.g. ``2210.02747``.
            requires: pip requirements beyond the plugin's own.
            tags: free words to search by.
            known_failures: names of checks (``flowloom check``) that it is known to fail, with the reason.

        Raises:
            PluginError: one of them is malformed, or the plugin adds the same name twice.
        """
        where = f"{kind} {name!r}"
        self._check(_NAME, name, where, "a name is lower-case words joined by '-', such as 'unit-box'")
        self._check(
            _TARGET, target, where, "a target is 'module:attribute', such as 'my_package.data:Digits'"
        )
        self._check_summary(summary, where)
        self._check_paper(paper, where)
        if isinstance(requires, str) or isinstance(tags, str):
            raise self._error(where, "'requires' and 'tags' are lists of words, not one string")
        if example is not None and not (isinstance(example, Mapping) and all(map(_is_name, example))):
            raise self._error(where, f"'example' maps constructor arguments to values, got {example!r}")
        if any(row.kind == kind and row.name == name for row in self.rows):
            raise self._error(where, "added twice")
        row = Row(
            kind,
            name,
            target,
            summary,
            self.plugin,
            dict(example or {}),
            paper,
            tuple(requires),
            tuple(tags),
            dict(known_failures or {}),
        )
        self.rows.append(row)

    def __getattr__(self, kind: str) -> _Add:
        """``reg.dataset(name, target, ...)``: `add` with the kind as a method, for every kind there is."""
        if kind not in self._kinds:
            raise AttributeError(f"a registrar has no '{kind}', and there is no kind of that name")
        return partial(self.add, kind)

    @property
    def _kinds(self) -> set[str]:
        return {kind.name for kind in (*KINDS, *self.__dict__.get("kinds", ()))}

    def recipe(self, name: str, target: str, *, summary: str, paper: str | None = None) -> None:
        """Add a recipe that the plugin ships.

        Args:
            name: word by which ``flowloom run`` finds it.
            target: ``package:path/inside/it.yaml``; the package's ``__init__`` should be empty.
            summary: one line.
            paper: arXiv id.

        Raises:
            PluginError: one of them is malformed, or the plugin adds the same name twice.
        """
        where = f"recipe {name!r}"
        self._check(_NAME, name, where, "a name is lower-case words joined by '-', such as 'digits-unet'")
        self._check(
            _RECIPE, target, where, "a recipe is 'package:path.yaml', such as 'my_package:recipes/a.yaml'"
        )
        self._check_summary(summary, where)
        self._check_paper(paper, where)
        if any(recipe.name == name for recipe in self.recipes):
            raise self._error(where, "added twice")
        self.recipes.append(RecipeRow(name, target, summary, self.plugin, paper))

    def kind(self, name: str, *, contract: str, meaning: str) -> None:
        """Add a kind of component of the plugin's own.

        Args:
            name: lower-case word.
            contract: class or protocol that members obey, as ``module:Class``.
            meaning: one line.

        Raises:
            PluginError: one of them is malformed.
        """
        where = f"kind {name!r}"
        self._check(_NAME, name, where, "a name is lower-case words joined by '-'")
        self._check(_TARGET, contract, where, "a contract is 'module:Class'")
        self._check_summary(meaning, where)
        self.kinds.append(Kind(name, contract, meaning))

    def section(self, name: str, kind: str, *, meaning: str, many: bool = False) -> None:
        """Add a recipe section that holds a component of ``kind``.

        Args:
            name: key in the recipe.
            kind: a known kind, or one added with `kind`.
            meaning: one line.
            many: True where the section is a list of components.

        Raises:
            PluginError: one of them is malformed.
        """
        where = f"section {name!r}"
        self._check(re.compile(r"[a-z][a-z0-9_]*"), name, where, "a section is a lower-case word")
        self._check_summary(meaning, where)
        self.sections.append(Section(name, "components" if many else "component", meaning, kind))

    def _check(self, pattern: re.Pattern[str], value: object, where: str, accepted: str) -> None:
        if not (isinstance(value, str) and pattern.fullmatch(value)):
            raise self._error(where, f"{accepted}; got {value!r}")

    def _check_summary(self, summary: object, where: str) -> None:
        if not (isinstance(summary, str) and summary.strip() and "\n" not in summary):
            raise self._error(where, f"a summary is one line of text, got {summary!r}")

    def _check_paper(self, paper: object, where: str) -> None:
        if paper is not None:
            self._check(_PAPER, paper, where, "a paper is an arXiv id such as '2210.02747'")

    def _error(self, where: str, message: str) -> PluginError:
        return PluginError(f"plugin {self.plugin.name!r}, {where}: {message}")


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier()
