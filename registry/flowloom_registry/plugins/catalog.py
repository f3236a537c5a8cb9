"""The catalog: every component and recipe that the installed plugins provide, found by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flowloom.kinds import Kind
from flowloom_registry.errors import AmbiguousComponentError, PluginError, UnknownComponentError
from flowloom_registry.nearest import did_you_mean, join_hints, listing, nearest
from flowloom_registry.plugins.rows import BrokenPlugin, ExperimentRow, Plugin, RecipeRow, Row
from flowloom_registry.plugins.sections import Section
from flowloom_registry.plugins.targets import (
    check_contract,
    is_file_target,
    load_attribute,
    load_target,
    require_class_name,
)

if TYPE_CHECKING:
    import pluggy

_NO_PLUGIN = Plugin("(target)")
_FEW = 8
"""Names that are all listed to somebody whose word resembles some of them."""
_File = TypeVar("_File", RecipeRow, ExperimentRow)


class Catalog:
    """What is installed. Made by `flowloom_registry.discover`; never changes afterwards.

    Attributes:
        plugins: the plugins that loaded, core first.
        broken: those that did not, with their errors.
        kinds: kinds by name.
        sections: recipe sections by name, in the order in which they are written.
        rows: every component.
        recipes: every recipe.
        experiments: every experiment.
        spec_target: ``module:Class`` of the spec that parameters may ask for.
        hooks: pluggy's relay, to call lifecycle hooks: ``catalog.hooks.flowloom_step(run=..., ...)``.
    """

    def __init__(
        self,
        *,
        plugins: Iterable[Plugin],
        broken: Iterable[BrokenPlugin],
        kinds: Mapping[str, Kind],
        sections: Mapping[str, Section],
        rows: Iterable[Row],
        recipes: Iterable[RecipeRow],
        experiments: Iterable[ExperimentRow] = (),
        spec_target: str,
        hooks: pluggy.HookRelay,
    ) -> None:
        self.plugins = tuple(plugins)
        self.broken = tuple(broken)
        self.kinds = dict(kinds)
        self.sections = dict(sections)
        self.rows = tuple(rows)
        self.recipes = tuple(recipes)
        self.experiments = tuple(experiments)
        self.spec_target = spec_target
        self.hooks = hooks
        self._by_name: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            self._by_name.setdefault((row.kind, row.name), []).append(row)
        self._loaded: dict[Row, Any] = {}
        self._contracts: dict[str, Any] = {}

    def of_kind(self, kind: str) -> list[Row]:
        """Rows of one kind, by name.

        Raises:
            UnknownComponentError: there is no such kind.
        """
        self.kind(kind)
        return sorted((row for row in self.rows if row.kind == kind), key=lambda row: row.name)

    def kind(self, name: str) -> Kind:
        """The kind of that name.

        Raises:
            UnknownComponentError: there is no such kind.
        """
        if name in self.kinds:
            return self.kinds[name]
        hint = join_hints(did_you_mean(name, self.kinds), f"kinds: {', '.join(self.kinds)}")
        raise UnknownComponentError(f"no kind of component is named {name!r}; {hint}")

    def collisions(self) -> list[list[Row]]:
        """Rows of different plugins that share kind and name; such a name must be qualified."""
        return [rows for rows in self._by_name.values() if len(rows) > 1]

    def find(self, kind: str, reference: str, *, folder: Path | None = None) -> Row:
        """The row that ``reference`` means.

        Args:
            kind: kind that is wanted.
            reference: ``name``, ``plugin:name``, ``package.module:attribute`` or ``./file.py:attribute``.
            folder: where relative files are looked for; the working directory when None.

        Raises:
            UnknownComponentError: nothing has that name; the message gives the nearest names.
            AmbiguousComponentError: several plugins have it; the message lists their qualified names.
            PluginError: it names a file, and no class in it.
        """
        self.kind(kind)
        require_class_name(reference, folder or Path())
        if is_file_target(reference):
            return self._file_row(kind, reference, folder or Path())
        if ":" in reference:
            return self._qualified_row(kind, reference)
        rows = self._by_name.get((kind, reference), [])
        if len(rows) > 1:
            raise _ambiguous(f"{kind} {reference!r}", [row.qualified for row in rows])
        if rows:
            return rows[0]
        raise self._unknown(kind, reference)

    def find_recipe(self, reference: str) -> RecipeRow:
        """The recipe that ``name`` or ``plugin:name`` means.

        Raises:
            UnknownComponentError: nothing has that name.
            AmbiguousComponentError: several plugins have it.
        """
        return self._find_file(self.recipes, "recipe", reference)

    def find_experiment(self, reference: str) -> ExperimentRow:
        """The experiment that ``name`` or ``plugin:name`` means.

        Raises:
            UnknownComponentError: nothing has that name.
            AmbiguousComponentError: several plugins have it.
        """
        return self._find_file(self.experiments, "experiment", reference)

    def _find_file(self, rows: Iterable[_File], kind: str, reference: str) -> _File:
        plugin, _, name = reference.rpartition(":")
        found = [row for row in rows if row.name == name and plugin in ("", row.plugin.name)]
        if len(found) > 1:
            raise _ambiguous(f"{kind} {name!r}", [row.qualified for row in found])
        if found:
            return found[0]
        raise self._unknown(kind, reference)

    @property
    def files(self) -> tuple[RecipeRow | ExperimentRow, ...]:
        """Recipes and experiments: what is shipped as a YAML file."""
        return (*self.recipes, *self.experiments)

    def named(self, name: str) -> list[Row]:
        """Rows of any kind that ``name``, ``plugin:name``, ``kind/name`` or ``kind/plugin:name`` means."""
        kind, _, rest = name.rpartition("/")
        plugin, _, bare = rest.rpartition(":")
        return [
            row
            for row in self.rows
            if row.name == bare and kind in ("", row.kind) and plugin in ("", row.plugin.name)
        ]

    def load(self, row: Row) -> Any:
        """The class or factory of ``row``, imported now and checked against its kind's contract.

        Raises:
            MissingDependencyError: something it needs is not installed.
            PluginError: its target does not exist or breaks the contract.
        """
        if row not in self._loaded:
            value = load_target(row)
            check_contract(row, value, self.contract(row.kind))
            self._loaded[row] = value
        return self._loaded[row]

    def call_each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call a hook of every plugin that has it; one that raises does not stop the others.

        Returns:
            Name of the plugin and what its hook returned, or the exception that it raised.
        """
        results: list[tuple[str, Any]] = []
        for implementation in getattr(self.hooks, hook).get_hookimpls():
            try:
                given = [arguments[name] for name in implementation.argnames]
                results.append((implementation.plugin_name, implementation.function(*given)))
            except BaseException as error:  # sys.exit() of a hook is no end of the run
                if isinstance(error, KeyboardInterrupt):
                    raise
                results.append((implementation.plugin_name, error))
        return results

    def contract(self, kind: str) -> Any:
        """The contract class of a kind, imported now.

        Raises:
            PluginError: the contract cannot be imported.
        """
        return self._contract(self.kind(kind).contract)

    def spec_class(self) -> Any:
        """The class of specs, imported now.

        Raises:
            PluginError: it cannot be imported.
        """
        return self._contract(self.spec_target)

    def _contract(self, target: str) -> Any:
        if target not in self._contracts:
            found = load_attribute(target)
            if not isinstance(found, type):
                raise PluginError(f"{target!r} is no class, and so no contract")
            self._contracts[target] = found
        return self._contracts[target]

    def _file_row(self, kind: str, reference: str, folder: Path) -> Row:
        location, _, attribute = reference.rpartition(":")
        path = (folder / location).resolve()
        if not path.is_file():
            raise UnknownComponentError(f"{reference!r}: there is no file {str(path)!r}")
        return Row(kind, attribute, f"{path}:{attribute}", "", _NO_PLUGIN, listed=False)

    def _qualified_row(self, kind: str, reference: str) -> Row:
        owner, _, name = reference.rpartition(":")
        for row in self._by_name.get((kind, name), []):
            if row.plugin.name == owner:
                return row
        broken = next((b for b in self.broken if b.plugin.name == owner), None)
        if broken is not None:
            raise UnknownComponentError(
                f"{reference!r}: plugin {owner!r} is broken ({broken.error}); "
                "see 'flowloom plugins --verbose'"
            )
        if any(plugin.name == owner for plugin in self.plugins):
            raise self._unknown(kind, name, owner)
        if "." in owner or _importable(owner):
            return Row(kind, name, reference, "", _NO_PLUGIN, listed=False)
        hint = join_hints(did_you_mean(owner, (plugin.name for plugin in self.plugins)), self._installed())
        raise UnknownComponentError(f"{reference!r}: no plugin or module is named {owner!r}; {hint}")

    def _unknown(self, kind: str, name: str, owner: str | None = None) -> UnknownComponentError:
        files = {row.kind for row in (RecipeRow, ExperimentRow)}
        rows: Iterable[Row | RecipeRow | ExperimentRow] = self.files if kind in files else self.of_kind(kind)
        names = [row.name for row in rows if row.kind == kind and owner in (None, row.plugin.name)]
        others = sorted({row.kind for row in self.rows if row.name == name and row.kind != kind})
        elsewhere = f"{name!r} is a {' and a '.join(others)}" if others else ""
        wrong = [row for row in self.files if row.name == name and row.kind != kind]
        if kind in files and wrong:
            does = {"recipe": "a recipe: flowloom run", "experiment": "an experiment: flowloom experiment"}
            elsewhere = f"{name!r} is {does[wrong[0].kind]} {name}"
        near = did_you_mean(name, names)
        if near and len(names) > _FEW:
            known = f"'flowloom list {kind}' shows all {len(names)}"
        else:
            known = f"known: {listing(names) or 'none'}"
        broken = "".join(
            f"; plugin {b.plugin.name!r} is broken and was not searched ({b.error})" for b in self.broken
        )
        whose = f" of plugin {owner!r}" if owner else ""
        hint = join_hints(near, elsewhere, known, "" if owner else self._installed())
        return UnknownComponentError(f"no {kind}{whose} is named {name!r}; {hint}{broken}")

    def _installed(self) -> str:
        names = ", ".join(plugin.name for plugin in self.plugins)
        return f"installed plugins: {names} (others are pip packages, named flowloom-NAME)"

    def nearest_named(self, name: str) -> list[str]:
        """Names of components and recipes, of any kind, that resemble ``name``."""
        return nearest(name, [*(row.name for row in self.rows), *(row.name for row in self.recipes)])


def _ambiguous(what: str, spellings: list[str]) -> AmbiguousComponentError:
    return AmbiguousComponentError(
        f"{what} is provided by several plugins; write one of: {', '.join(spellings)}"
    )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
