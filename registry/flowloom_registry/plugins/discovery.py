"""Finding the installed plugins. One that fails is set aside with its error; the others go on."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from flowloom.errors import MissingDependencyError
from flowloom.kinds import KINDS, Kind
from flowloom_registry.errors import PluginError, one_line
from flowloom_registry.markers import PROJECT
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins import hookspecs
from flowloom_registry.plugins.catalog import Catalog
from flowloom_registry.plugins.registrar import Registrar
from flowloom_registry.plugins.rows import BrokenPlugin, Plugin
from flowloom_registry.plugins.sections import SECTIONS, SPEC, Section

CORE = "core"


@functools.cache
def catalog() -> Catalog:
    """The catalog of everything installed, found once per process."""
    return discover()


def discover(
    *,
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    extra: Mapping[str, object] | None = None,
    allow: Iterable[str] | None = None,
    strict: bool | None = None,
    kinds: Iterable[Kind] = KINDS,
    sections: Iterable[Section] = SECTIONS,
    spec: str = SPEC,
) -> Catalog:
    """Load plugins and collect their rows.

    Args:
        entry_points: plugins to load; those installed in group ``flowloom`` when None.
        extra: further plugins by name: modules or objects that carry ``hookimpl`` functions.
        allow: names to load besides core; None reads the comma list ``FLOWLOOM_PLUGINS`` and, where that
            is not set, allows all.
        strict: raise on the first broken plugin; None asks whether ``FLOWLOOM_STRICT_PLUGINS`` is ``1``.
        kinds: kinds to begin with.
        sections: recipe sections to begin with.
        spec: ``module:Class`` of the spec.

    Raises:
        PluginError: a plugin is broken and ``strict`` is set.
    """
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=PROJECT)
    if allow is None:
        listed = os.environ.get("FLOWLOOM_PLUGINS")
        allow = None if listed is None else [word.strip() for word in listed.split(",") if word.strip()]
    if strict is None:
        strict = os.environ.get("FLOWLOOM_STRICT_PLUGINS") == "1"
    allowed = None if allow is None else {CORE, *allow}
    loading = _Loading(strict, {kind.name: kind for kind in kinds}, {part.name: part for part in sections})
    points = sorted(entry_points, key=lambda point: (point.name != CORE, point.name))
    for entry_point in points:
        if allowed is None or entry_point.name in allowed:
            loading.load(_plugin_of(entry_point), entry_point.load)
    for name in sorted((allowed or set()) - {CORE, *(point.name for point in points)}):
        loading.miss(name, [point.name for point in points])
    for name, module in (extra or {}).items():
        loading.load(Plugin(name), functools.partial(_itself, module))
    return loading.finish(spec)


def _plugin_of(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = entry_point.dist
    if distribution is None:
        return Plugin(entry_point.name)
    return Plugin(entry_point.name, distribution.name, distribution.version)


def _itself(module: object) -> object:
    return module


class _Loading:
    """The state of one discovery."""

    def __init__(self, strict: bool, kinds: dict[str, Kind], sections: dict[str, Section]) -> None:
        self.strict = strict
        self.kinds = kinds
        self.sections = sections
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.registrars: list[Registrar] = []
        self.broken: list[BrokenPlugin] = []

    def load(self, plugin: Plugin, source: Callable[[], object]) -> None:
        """Register what ``source`` gives; any error sets it aside whole, so no half of its rows remains."""
        module: object = None
        try:
            if any(other.plugin.name == plugin.name for other in self.registrars):
                raise PluginError(f"another plugin is already named {plugin.name!r}")
            module = source()
            registrar = self._register(plugin, module)
        except BaseException as error:  # other languages' panics are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            if module is not None and self.manager.get_name(module) == plugin.name:
                self.manager.unregister(module)
            self._set_aside(plugin, error)
        else:
            self.registrars.append(registrar)

    def miss(self, name: str, installed: list[str]) -> None:
        """Note that a plugin was asked for and is not there."""
        hint = join_hints(did_you_mean(name, installed), f"installed: {', '.join(installed)}")
        error = MissingDependencyError(f"allowed by FLOWLOOM_PLUGINS, and not installed; {hint}")
        self._set_aside(Plugin(name), error)

    def finish(self, spec: str) -> Catalog:
        """Check what needs every plugin's kinds, and close the books."""
        for registrar in self.registrars:
            self._adopt(registrar)
        for registrar in tuple(self.registrars):
            try:
                self._check_kinds(registrar)
            except PluginError as error:
                self._withdraw(registrar)
                self._set_aside(registrar.plugin, error)
        return Catalog(
            plugins=[registrar.plugin for registrar in self.registrars],
            broken=self.broken,
            kinds=self.kinds,
            sections=self.sections,
            rows=[row for registrar in self.registrars for row in registrar.rows],
            recipes=[recipe for registrar in self.registrars for recipe in registrar.recipes],
            experiments=[one for registrar in self.registrars for one in registrar.experiments],
            spec_target=spec,
            hooks=self.manager.hook,
        )

    def _register(self, plugin: Plugin, module: object) -> Registrar:
        self.manager.register(module, name=plugin.name)
        self.manager.check_pending()
        registrar = Registrar(plugin)
        others = [other for other in self.manager.get_plugins() if other is not module]
        call: Any = self.manager.subset_hook_caller("flowloom_register", remove_plugins=others)
        call(reg=registrar)
        return registrar

    def _adopt(self, registrar: Registrar) -> None:
        for kind in registrar.kinds:
            self.kinds.setdefault(kind.name, kind)
        for section in registrar.sections:
            self.sections.setdefault(section.name, section)

    def _check_kinds(self, registrar: Registrar) -> None:
        who = f"plugin {registrar.plugin.name!r}"
        for kind in registrar.kinds:
            if self.kinds[kind.name] is not kind:
                raise PluginError(f"{who}: a kind named {kind.name!r} exists already")
        for section in registrar.sections:
            if self.sections[section.name] is not section:
                raise PluginError(f"{who}: a section named {section.name!r} exists already")
        named = [(row.label, row.kind) for row in registrar.rows]
        named += [(f"section {one.name!r}", one.kind) for one in registrar.sections if one.kind is not None]
        for what, word in named:
            if word not in self.kinds:
                hint = join_hints(did_you_mean(word, self.kinds), f"kinds: {', '.join(self.kinds)}")
                raise PluginError(f"{who}, {what}: there is no kind {word!r}; {hint}")

    def _withdraw(self, registrar: Registrar) -> None:
        self.registrars.remove(registrar)
        self.manager.unregister(name=registrar.plugin.name)
        for kind in registrar.kinds:
            if self.kinds[kind.name] is kind:
                del self.kinds[kind.name]
        for section in registrar.sections:
            if self.sections[section.name] is section:
                del self.sections[section.name]

    def _set_aside(self, plugin: Plugin, error: BaseException) -> None:
        if self.strict:
            raise PluginError(f"plugin {plugin.name!r} is broken: {one_line(error)}") from error
        trace = _trace(error)
        self.broken.append(BrokenPlugin(plugin, one_line(error), trace))


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # an error that cannot even say what it is
        return one_line(error)
