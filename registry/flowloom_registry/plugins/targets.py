"""From a target such as ``module:attribute`` or ``./file.py:attribute`` to the object itself."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

from flowloom.errors import MissingDependencyError
from flowloom_registry.errors import PluginError, one_line
from flowloom_registry.plugins.rows import Row


def is_file_target(reference: str) -> bool:
    """True for ``./file.py:Class`` and other spellings that name a file."""
    location, _, attribute = reference.rpartition(":")
    return bool(attribute) and (location.endswith(".py") or location.startswith(("./", "../", "/")))


def require_class_name(reference: str, folder: Path) -> None:
    """Ask a reference that names a file to name a class in it as well.

    Args:
        reference: as a recipe spells it.
        folder: where relative files are looked for.

    Raises:
        PluginError: it is a file alone; the message lists its classes.
    """
    location = reference.removesuffix(":")
    if not location.endswith(".py") or ":" in location:
        return
    path = folder / location
    if not path.is_file():
        raise PluginError(f"{reference!r}: there is no file {str(path.resolve())!r}")
    classes = _classes_in(path)
    example = f"{location}:{classes[0] if classes else 'Class'}"
    others = f"; classes in it: {', '.join(classes)}" if len(classes) > 1 else ""
    raise PluginError(f"{reference!r} is a file; name the class after a colon, such as {example}{others}")


def _classes_in(path: Path) -> list[str]:
    import ast

    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    return [node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def load_target(row: Row) -> Any:
    """Import what ``row.target`` names.

    Raises:
        MissingDependencyError: an import inside the module failed, or a library it loads is unusable.
        PluginError: the module or attribute does not exist, or importing it raised another error.
    """
    location, _, attribute = row.target.rpartition(":")
    try:
        value: Any = (
            _file_module(location) if is_file_target(row.target) else importlib.import_module(location)
        )
    except (ImportError, OSError) as error:
        raise _import_failed(row, location, error) from error
    except PluginError as error:  # of the file itself: there is none, say
        raise PluginError(f"{_who(row)}: {error}") from error
    except BaseException as error:  # a script that calls sys.exit() is no component
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(
            f"{_who(row)}: importing {location!r} raised {one_line(error)} ({_raised_at(error)})"
        ) from error
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise PluginError(f"{_who(row)}: {location!r} has no attribute {attribute!r}") from error
    return value


def load_attribute(target: str) -> Any:
    """What ``module:attribute`` names, for targets of flowloom's own tables.

    Raises:
        PluginError: it cannot be imported.
    """
    module, _, attribute = target.rpartition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(f"{target!r} cannot be loaded: {one_line(error)}") from error


def check_contract(row: Row, value: Any, contract: Any) -> None:
    """Check that a loaded class keeps its kind's contract, as far as that can be seen without an instance.

    Factories (functions) of plugins and of files, and attributes that are set in constructors, are taken on
    trust. A function of any other module (``os:system``) is called only where it says what it returns.

    Raises:
        PluginError: ``value`` cannot be called, is no subclass, or lacks a method of a protocol; or is a
            function of a module that does not say that it returns what is wanted.
    """
    if not callable(value):
        raise PluginError(f"{_who(row)}: {row.target} is {value!r}, not a class or function")
    if not inspect.isclass(value) and not row.listed and not is_file_target(row.target):
        _require_factory(row, value, contract)
    if not (inspect.isclass(value) and inspect.isclass(contract)):
        return
    if not getattr(contract, "_is_protocol", False):
        if not issubclass(value, contract):
            raise PluginError(f"{_who(row)}: {row.target} is not a subclass of {_name(contract)}")
        return
    lacking = [name for name in _protocol_methods(contract) if not _has(value, name)]
    if lacking:
        raise PluginError(f"{_who(row)}: {row.target} lacks {', '.join(lacking)}, asked by {_name(contract)}")


def _require_factory(row: Row, value: Any, contract: Any) -> None:
    try:
        returned = typing.get_type_hints(value).get("return")
    except Exception:  # annotations of others may say anything, and built-in functions have none
        returned = None
    if inspect.isclass(returned) and _keeps_class(returned, contract):
        return
    raise PluginError(
        f"{row.target} is a function that does not say what it returns; a function of a module makes a "
        f"component only where it is annotated so: def {getattr(value, '__name__', 'make')}(...) -> "
        f"{getattr(contract, '__name__', row.kind)}"
    )


def _keeps_class(made: type, contract: Any) -> bool:
    """Whether a class keeps a contract, as far as that can be seen without an instance."""
    if not inspect.isclass(contract):
        return True
    if getattr(contract, "_is_protocol", False):
        return made is contract or not [n for n in _protocol_methods(contract) if not _has(made, n)]
    return issubclass(made, contract)


def keeps(made: Any, contract: Any) -> bool:
    """Whether an object is an instance of a contract; True where that cannot be asked."""
    try:
        return isinstance(made, contract)
    except TypeError:
        return True  # a protocol that is not made for run-time checks


def _file_module(location: str) -> ModuleType:
    path = Path(location).resolve()
    # Two recipes naming one file must get one class, and equally named files must not meet.
    name = f"flowloom_file_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise PluginError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{str(path)!r} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_failed(row: Row, location: str, error: ImportError | OSError) -> Exception:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and (location == missing or location.startswith(f"{missing}.")):
        return PluginError(f"{_who(row)}: there is no module {missing!r}")
    if is_file_target(row.target) and _is_neighbour(Path(location), missing, error):
        what = repr(missing) if missing else "a module"
        return PluginError(
            f"{_who(row)} imports {what}, which lies beside it: a file named in a recipe cannot import its "
            "neighbours; put all of it in one file, or make it a package "
            "('flowloom new plugin NAME' writes one)"
        )
    what = f"{missing!r}, which is not installed" if missing else f"a library that failed: {one_line(error)}"
    install = list(row.requires) or ([missing.partition(".")[0]] if missing else [])
    how = f"; pip install {' '.join(map(_quoted, install))}" if install else ""
    return MissingDependencyError(f"{_who(row)} needs {what}{how}")


def _is_neighbour(file: Path, missing: str | None, error: Exception) -> bool:
    if missing is None:
        return "attempted relative import" in str(error)
    beside = file.parent / missing.partition(".")[0]
    return beside.is_dir() or beside.with_suffix(".py").is_file()


def _quoted(requirement: str) -> str:
    return f"'{requirement}'" if set(requirement) & set("<>=! ;[]") else requirement


def _raised_at(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "no traceback"


def _protocol_methods(contract: type) -> list[str]:
    names: dict[str, None] = {}
    for base in contract.__mro__:
        if getattr(base, "_is_protocol", False):
            methods = (name for name, value in vars(base).items() if inspect.isfunction(value))
            names.update(dict.fromkeys(name for name in methods if name == "__call__" or name[0] != "_"))
    return list(names)


def _has(value: type, name: str) -> bool:
    # hasattr would find __call__ on every class, since its metaclass can be called
    return any(name in vars(base) for base in value.__mro__)


def _who(row: Row) -> str:
    return f"{row.label} (plugin {row.plugin.name})" if row.listed else row.target


def _name(contract: type) -> str:
    return f"{contract.__module__}.{contract.__qualname__}"
