"""What a plugin's ``flowloom_register(reg)`` receives: all that it provides goes in here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from flowloom.kinds import Kind
from flowloom_registry.errors import PluginError
from flowloom_registry.plugins.rows import ExperimentRow, FileRow, Plugin, RecipeRow, Row
from flowloom_registry.plugins.sections import Form, Section

_NAME = re.compile(r"[a-z0-9]+([._+-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FILE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[^:\\]+\.ya?ml")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PAPER = re.compile(r"(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})(v\d+)?")
_File = TypeVar("_File", bound=FileRow)


class Registrar:
    """Collects the rows of one plugin; nothing it is given is imported, but for modules of rows (`gather`).

    Args:
        plugin: whose rows these are.
    """

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.rows: list[Row] = []
        self.recipes: list[RecipeRow] = []
        self.experiments: list[ExperimentRow] = []
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
        data: str | None = None,
        within: str | None = None,
    ) -> None:
        """Add a component: ``reg.add("geometry", "so3", "my_package.spaces:SO3", summary="rotations")``.

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
            data: data set on which it is checked, for a component of one domain: a name of this plugin's, or
                one of core's; core's ``eight-gaussians`` where left out.
            within: recipe among whose parts it is checked, for one that meets only parts like those (a solver
                of one path, say): a name of this plugin's, or one of core's.

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
        if data is not None:
            self._check(_NAME, data, where, "'data' is the name of a data set, such as 'moons'")
        if within is not None:
            self._check(_NAME, within, where, "'within' is the name of a recipe, such as 'markov'")
            if data is not None:
                raise self._error(where, "give one of data= and within=; a recipe has its own data")
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
            data,
            within,
        )
        self.rows.append(row)

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
        self._add_file(self.recipes, RecipeRow(name, target, summary, self.plugin, paper))

    def experiment(self, name: str, target: str, *, summary: str) -> None:
        """Add an experiment that the plugin ships: many runs, compared.

        Args:
            name: word by which ``flowloom experiment`` finds it.
            target: ``package:path/inside/it.yaml``; the package's ``__init__`` should be empty.
            summary: one line.

        Raises:
            PluginError: one of them is malformed, or the plugin adds the same name twice.
        """
        self._add_file(self.experiments, ExperimentRow(name, target, summary, self.plugin))

    def kind(self, name: str, *, contract: str, meaning: str, laws: str | None = None) -> None:
        """Add a kind of component of the plugin's own.

        Args:
            name: lower-case word.
            contract: class or protocol that members obey, as ``module:Class``.
            meaning: one line.
            laws: module whose functions ``check_...`` (see `flowloom.testing.law`) are the laws of the kind;
                ``flowloom check`` holds every row of the kind to them, whoever adds it.

        Raises:
            PluginError: one of them is malformed.
        """
        where = f"kind {name!r}"
        self._check(_NAME, name, where, "a name is lower-case words joined by '-'")
        self._check(_TARGET, contract, where, "a contract is 'module:Class'")
        self._check_summary(meaning, where)
        if laws is not None:
            self._check(_MODULE, laws, where, "laws are a module, such as 'my_package.laws'")
        self.kinds.append(Kind(name, contract, meaning, laws))

    def section(
        self,
        name: str,
        kind: str | None = None,
        *,
        meaning: str,
        form: Form | None = None,
        default: str | None = None,
        target: str | None = None,
        required: bool = False,
        many: bool = False,
    ) -> None:
        """Add a section that recipes may have.

        Args:
            name: key in the recipe.
            kind: what it holds a component of: a known kind, or one added with `kind`.
            meaning: one line.
            form: what stands there, where ``kind`` and ``target`` do not tell: ``text``, ``integer`` or
                ``mapping``.
            default: component that is used where a recipe leaves the section out.
            target: dataclass of a record, as ``module:Class``: the section is a mapping of its fields.
            required: True where a recipe without it is incomplete.
            many: True where the section is a list of components.

        Raises:
            PluginError: one of them is malformed, or they contradict each other.
        """
        where = f"section {name!r}"
        self._check(re.compile(r"[a-z][a-z0-9_]*"), name, where, "a section is a lower-case word")
        self._check_summary(meaning, where)
        found: Form | None = form
        if kind is not None:
            found = "components" if many else "component"
        elif target is not None:
            self._check(_TARGET, target, where, "the target of a record is 'module:Class'")
            found = "record"
        if found is None or (form or found) != found or (kind is not None and target is not None):
            raise self._error(
                where,
                "give one of kind= (a component, or a list with many=True), target= (a record) and form=",
            )
        if found != "component" and (default is not None or required):
            raise self._error(where, "only a section that holds one component has a default or is required")
        if many and kind is None:
            raise self._error(where, "a list holds components; say of which kind")
        self.sections.append(Section(name, found, meaning, kind, default, required, target))

    def gather(self, package: str) -> None:
        """Let every module of a package add its rows, by name: a new method is then a new file, and no other.

        Each has a function ``register(reg)`` and holds words only, as the plugin's own module does; those
        whose name begins with ``_`` are passed over.

        Args:
            package: dotted name, such as ``my_package.rows``.

        Raises:
            PluginError: there is no such package, it has no modules, or one of them no ``register``.
        """
        where = f"rows {package!r}"
        self._check(_MODULE, package, where, "rows are a package of modules, such as 'my_package.rows'")
        try:
            found = import_module(package)
        except ModuleNotFoundError as error:
            raise self._error(where, f"there is no such package ({error})") from error
        names = sorted(module.name for module in iter_modules(getattr(found, "__path__", ())))
        names = [name for name in names if not name.startswith("_")]
        if not names:
            raise self._error(where, "there are no modules in it")
        for name in names:
            register = getattr(import_module(f"{package}.{name}"), "register", None)
            if not callable(register):
                raise self._error(where, f"module {name!r} has no function register(reg)")
            register(self)

    def _add_file(self, rows: list[_File], row: _File) -> None:
        where = f"{row.kind} {row.name!r}"
        self._check(_NAME, row.name, where, "a name is lower-case words joined by '-', such as 'digits-unet'")
        accepted = f"the target of a file is 'package:path.yaml', such as 'my_package:{row.kind}s/a.yaml'"
        self._check(_FILE, row.target, where, accepted)
        self._check_summary(row.summary, where)
        self._check_paper(row.paper, where)
        if any(other.name == row.name for other in rows):
            raise self._error(where, "added twice")
        rows.append(row)

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
