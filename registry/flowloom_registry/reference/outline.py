"""What stands in a class, function or alias: its signature, text and methods, inherited or not."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

from flowloom_registry.errors import PluginError, one_line
from flowloom_registry.reference.names import Definition, defined_in, text_of

_CALLED = ("__call__", "__len__", "__getitem__", "__iter__")
"""Special methods that a user calls without writing their names."""


@dataclass(frozen=True)
class Member:
    """A method, property or attribute.

    Args:
        name: as it is written.
        signature: how it is called, or the type of an attribute.
        doc: its docstring.
        owner: the class that defines it.
        asked: True where a class that keeps the contract has to write it.
        attribute: True for what is read and not called.
    """

    name: str
    signature: str
    doc: str
    owner: str
    asked: bool = False
    attribute: bool = False


@dataclass(frozen=True)
class Outline:
    """All that is public of one definition.

    Args:
        title: its name, with the bases of a class.
        signature: how it is made or called; the value of an alias; empty for a class that takes nothing.
        home: module where it is defined.
        doc: docstring.
        about: docstring of its module, empty where the module holds more than it says of this one.
        members: attributes and methods; those of base classes behind its own.
        fields: names of a record's fields, which its signature and docstring tell.
    """

    title: str
    signature: str
    home: str
    doc: str
    about: str = ""
    members: tuple[Member, ...] = ()
    fields: tuple[str, ...] = ()


def outline(one: Definition) -> Outline:
    """The outline of a definition; a class is imported, to know what it inherits.

    Raises:
        PluginError: the module of a class cannot be imported.
    """
    node = one.node
    if isinstance(node, ast.ClassDef):
        try:
            made = getattr(import_module(one.module), one.name)
        except (ImportError, OSError, AttributeError) as error:
            raise PluginError(f"{one.target} cannot be imported: {one_line(error)}") from error
        return outline_of_class(made)
    if isinstance(node, ast.FunctionDef):
        return Outline(one.name, _call(one.name, node), one.module, one.doc)
    return Outline(one.name, ast.unparse(node), one.module, one.doc)


def outline_of_class(made: type) -> Outline:
    """The outline of a class that is there."""
    bases = [
        base.__name__
        for base in made.__bases__
        if base is not object and base.__name__ not in ("ABC", "Generic")
    ]
    title = f"{made.__name__}({', '.join(bases)})" if bases else made.__name__
    sources = [(base, node) for base in made.__mro__ if (node := _source(base)) is not None]
    members: dict[str, Member] = {}
    hidden: set[str] = set()
    protocol = bool(getattr(made, "_is_protocol", False))
    for base, node in sources:
        for member in _members(base, node, protocol):
            if member.name not in hidden:
                members.setdefault(member.name, member)
        # What a base class says of a method that was overridden is not how it is now.
        hidden |= {name for name in vars(base) if name not in members}
    doc = inspect.getdoc(made) if made.__doc__ else ""
    return Outline(
        title,
        _constructor(made, sources),
        made.__module__,
        doc or "",
        _about(made),
        tuple(members.values()),
        tuple(getattr(made, "__dataclass_fields__", {})),
    )


def _source(made: type) -> ast.ClassDef | None:
    """The source of a class outside the standard library and torch."""
    top = made.__module__.partition(".")[0]
    module = sys.modules.get(made.__module__)
    file = getattr(module, "__file__", None)
    if file is None or top in ("builtins", "abc", "typing", "torch") or top in sys.stdlib_module_names:
        return None
    found = defined_in(made.__module__, Path(file)).get(made.__qualname__)
    return found.node if found is not None and isinstance(found.node, ast.ClassDef) else None


def _about(made: type) -> str:
    return inspect.cleandoc(getattr(sys.modules.get(made.__module__), "__doc__", None) or "")


def _constructor(made: type, sources: list[tuple[type, ast.ClassDef]]) -> str:
    for base, node in sources:
        written = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        if written:
            return _call(made.__name__, written[0], method=True, returns=False)
        if "__dataclass_fields__" in vars(base):
            return f"{made.__name__}({', '.join(_fields(made, sources))})"
    return ""


def _fields(made: type, sources: list[tuple[type, ast.ClassDef]]) -> list[str]:
    texts: dict[str, str] = {}
    for base, node in reversed(sources):
        if "__dataclass_fields__" in vars(base):
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    texts[one.target.id] = _field(one.target.id, one)
    fields: dict[str, Any] = made.__dataclass_fields__  # type: ignore[attr-defined]
    return [texts[name] for name, field in fields.items() if name in texts and field.init]


def _field(name: str, node: ast.AnnAssign) -> str:
    text = f"{name}: {ast.unparse(node.annotation)}"
    value = node.value
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        given = {word.arg: word.value for word in value.keywords}
        if "default_factory" in given:
            return f"{text} = {ast.unparse(given['default_factory'])}()"
        value = given.get("default")
    return text if value is None else f"{text} = {ast.unparse(value)}"


def _members(base: type, node: ast.ClassDef, protocol: bool) -> list[Member]:
    is_record = "__dataclass_fields__" in vars(base)
    found = []
    for one, after in zip_longest(node.body, node.body[1:]):
        if isinstance(one, ast.FunctionDef) and (not one.name.startswith("_") or one.name in _CALLED):
            marks = [ast.unparse(mark).rpartition(".")[2] for mark in one.decorator_list]
            asked = protocol or "abstractmethod" in marks
            doc = ast.get_docstring(one) or ""
            if "setter" in marks:
                continue
            if "property" in marks or "cached_property" in marks:
                kind = "" if one.returns is None else ast.unparse(one.returns)
                found.append(Member(one.name, kind, doc, base.__name__, asked, attribute=True))
            else:
                static = "staticmethod" in marks
                found.append(
                    Member(one.name, _call(one.name, one, method=not static), doc, base.__name__, asked)
                )
        elif isinstance(one, (ast.AnnAssign, ast.Assign)) and not is_record:
            target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                kind = _attribute(one)
                found.append(Member(target.id, kind, text_of(after), base.__name__, attribute=True))
    return found


def _attribute(node: ast.AnnAssign | ast.Assign) -> str:
    kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    return f"{kind} = {ast.unparse(node.value)}".strip() if node.value is not None else kind


def _call(name: str, node: ast.FunctionDef, *, method: bool = False, returns: bool = True) -> str:
    back = f" -> {ast.unparse(node.returns)}" if returns and node.returns is not None else ""
    return f"{name}({', '.join(_arguments(node.args, method))}){back}"


def _arguments(given: ast.arguments, method: bool) -> list[str]:
    plain = [*given.posonlyargs, *given.args]
    defaults = [*(None for _ in range(len(plain) - len(given.defaults))), *given.defaults]
    texts = [_argument(one, default) for one, default in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        texts.insert(len(given.posonlyargs), "/")
    texts = texts[1:] if method else texts  # without self
    if given.vararg is not None:
        texts.append(f"*{_argument(given.vararg, None)}")
    elif given.kwonlyargs:
        texts.append("*")
    texts += [
        _argument(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return texts + ([f"**{_argument(given.kwarg, None)}"] if given.kwarg is not None else [])


def _argument(one: ast.arg, default: ast.expr | None) -> str:
    text = one.arg if one.annotation is None else f"{one.arg}: {ast.unparse(one.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def folded(call: str, width: int = 100) -> list[str]:
    """A call over several lines, an argument each, where it is long."""
    if len(call) <= width:
        return [call]
    head, inside, tail = _taken_apart(call)
    return [f"{head}(", *(f"    {one}," for one in inside), f"){tail}"] if inside else [call]


def _taken_apart(call: str) -> tuple[str, list[str], str]:
    """Name, arguments and what follows the closing bracket, by counting brackets."""
    head, _, rest = call.partition("(")
    depth, start, inside = 1, 0, list[str]()
    for i, letter in enumerate(rest):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 or (depth == 1 and letter == ","):
            inside.append(rest[start:i].strip())
            start = i + 1
        if depth == 0:
            return head, [one for one in inside if one], rest[start:]
    return call, [], ""
