"""Every public name that packages define at the top of a module, found by reading and not by importing."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from flowloom_registry.plugins.catalog import Catalog

Node: TypeAlias = "ast.ClassDef | ast.FunctionDef | ast.AnnAssign | ast.Assign"


@dataclass(frozen=True)
class Definition:
    """One class, function, alias or constant.

    Args:
        name: as it is written.
        module: where it is defined.
        file: of the module.
        node: its source, parsed.
        doc: its docstring; of an alias or constant, the text behind it.
    """

    name: str
    module: str
    file: Path
    node: Node
    doc: str

    @property
    def target(self) -> str:
        """``module:name``."""
        return f"{self.module}:{self.name}"


def packages_of(found: Catalog) -> list[str]:
    """The packages that a catalog's components and contracts come from, flowloom's own first."""
    targets = [row.target for row in found.rows if ".py:" not in row.target]
    targets += [kind.contract for kind in found.kinds.values()]
    return list(dict.fromkeys(["flowloom", "flowloom_registry", *sorted({_top(t) for t in targets})]))


def definitions(packages: Iterable[str]) -> list[Definition]:
    """Public definitions of packages, in the order of their modules."""
    return [one for package in packages for module, file in _modules(package) for one in _read(module, file)]


def defined_in(module: str, file: Path) -> dict[str, Definition]:
    """Public definitions of one module by name."""
    return {one.name: one for one in _read(module, file)}


@functools.cache
def _read(module: str, file: Path) -> tuple[Definition, ...]:
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return ()
    return tuple(
        Definition(name, module, file, node, doc)
        for name, node, doc in _named(body)
        if not name.startswith("_")
    )


def _named(body: list[ast.stmt]) -> Iterator[tuple[str, Node, str]]:
    for node, after in zip_longest(body, body[1:]):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name):
                yield target.id, node, text_of(after)


def text_of(node: ast.stmt | None) -> str:
    """The text that stands behind a constant or an attribute, empty where there is none."""
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        import inspect

        return inspect.cleandoc(value.value)
    return ""


@functools.cache
def _modules(package: str) -> tuple[tuple[str, Path], ...]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return ()
    if not spec.submodule_search_locations:
        return ((package, Path(spec.origin)),) if spec.origin else ()
    found = []
    for folder in map(Path, spec.submodule_search_locations):
        for file in sorted(folder.rglob("*.py")):
            words = file.relative_to(folder).with_suffix("").parts
            if not any(word.startswith("_") for word in words if word != "__init__"):
                found.append((".".join([package, *words]).removesuffix(".__init__"), file))
    return tuple(found)


def _top(target: str) -> str:
    return target.partition(":")[0].partition(".")[0]
