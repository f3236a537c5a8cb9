"""Rows in modules of their own: a new method in a plugin is a new file, and no edit."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flowloom_registry.errors import PluginError
from flowloom_registry.plugins.registrar import Registrar
from flowloom_registry.plugins.rows import Plugin

ROW = """
def register(reg):
    reg.add("geometry", "{name}", "my.spaces:Sphere", summary="round")
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A package of rows, found by this process for the length of a test."""

    def made(package, **modules):
        folder = tmp_path / package / "rows"
        folder.mkdir(parents=True)
        for file in (folder.parent, folder):
            (file / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        return f"{package}.rows"

    monkeypatch.syspath_prepend(tmp_path)
    yield made
    for name in [name for name in sys.modules if name.startswith("gathered_")]:
        del sys.modules[name]


def test_every_module_of_rows_is_found_by_name(rows):
    registrar = Registrar(Plugin("mine"))
    package = rows("gathered_a", b=ROW.format(name="b"), a=ROW.format(name="a"), _shared="X = 1")
    registrar.gather(package)
    assert [row.name for row in registrar.rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("modules", "package", "said"),
    [
        ({}, "gathered_nowhere.rows", "there is no such package"),
        ({}, None, "there are no modules in it"),
        ({"a": "X = 1"}, None, "module 'a' has no function register(reg)"),
        ({"a": "import gathered_missing"}, None, "No module named 'gathered_missing'"),
        ({}, "not a name", "rows are a package of modules"),
    ],
)
def test_rows_that_cannot_be_gathered_are_one_line(rows, modules, package, said):
    made = rows(f"gathered_{abs(hash(said))}", **modules)
    with pytest.raises((PluginError, ModuleNotFoundError), match=re.escape(said)) as failure:
        Registrar(Plugin("mine")).gather(package or made)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("plugin", ["foundations", "fewstep", "images"])
def test_rows_import_nothing_heavy(plugin):
    code = (
        "import sys; from flowloom_registry.plugins.registrar import Registrar; "
        "from flowloom_registry.plugins.rows import Plugin; "
        f"r = Registrar(Plugin('p')); r.gather('flowloom_{plugin}.rows'); "
        "assert r.rows and r.recipes; "
        "heavy = {'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
