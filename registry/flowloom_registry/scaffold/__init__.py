"""Writing the skeleton of a plugin: a package that installs, and whose own tests pass."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from flowloom_registry.errors import PluginError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

FILES: tuple[tuple[str, str], ...] = (
    ("pyproject.toml.tmpl", "pyproject.toml"),
    ("README.md.tmpl", "README.md"),
    ("init.py.tmpl", "src/$module/__init__.py"),
    ("py.typed.tmpl", "src/$module/py.typed"),
    ("plugin.py.tmpl", "src/$module/plugin.py"),
    ("data.py.tmpl", "src/$module/data.py"),
    ("schedules.py.tmpl", "src/$module/schedules.py"),
    ("recipe.yaml.tmpl", "src/$module/recipes/${word}_rings.yaml"),
    ("test_plugin.py.tmpl", "tests/test_${word}.py"),
)
"""Template -> file in the package."""


def write_plugin(name: str, into: Path) -> Path:
    """Write a package ``flowloom-NAME`` and return its folder.

    Args:
        name: lower-case words joined by ``-``.
        into: folder in which the package's folder is made.

    Raises:
        PluginError: the name is not usable or taken, or the folder exists.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(
            f"{name!r} is no name for a plugin; write lower-case words joined by '-', as 'proteins'"
        )
    if name.startswith("flowloom"):
        bare = name.removeprefix("flowloom").strip("-") or "proteins"
        raise PluginError(
            f"leave out 'flowloom' from {name!r}; it is put in front: flowloom new plugin {bare}"
        )
    _refuse_taken(name)
    folder = into / f"flowloom-{name}"
    if folder.exists() or folder.is_symlink():
        raise PluginError(f"{folder} exists already; choose another name, or another folder with --into")
    values = _values(name)
    templates = files("flowloom_registry.scaffold").joinpath("plugin")
    for template, target in FILES:
        path = folder / Template(target).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = templates.joinpath(template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(values), encoding="utf-8")
    return folder


def _values(name: str) -> dict[str, str]:
    from flowloom import __version__

    word = name.replace("-", "_")
    return {
        "name": name,
        "word": word,
        "module": f"flowloom_{word}",
        "title": name.replace("-", " "),
        "version": ".".join(__version__.split(".")[:2]),
    }


def _refuse_taken(name: str) -> None:
    from flowloom_registry.plugins.discovery import catalog

    found = catalog()
    if name in [plugin.name for plugin in found.plugins] + [broken.plugin.name for broken in found.broken]:
        raise PluginError(f"a plugin named {name!r} is installed already; choose another name")
