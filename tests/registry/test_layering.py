"""Who may import whom: plugins -> registry -> core -> torch; the registry's listing half stays light."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "flowloom"
REGISTRY = ROOT / "registry" / "flowloom_registry"
HEAVY = {"torch", "numpy", "scipy", "transformers", "matplotlib", "sklearn", "rich"}
LIGHT = [path for path in REGISTRY.rglob("*.py") if "runs" not in path.relative_to(REGISTRY).parts[:1]]
PLUGIN_MODULES = sorted((ROOT / "plugins").glob("*/src/*/plugin.py"))


def imports(path, *, functions):
    """Modules that a file imports: at import time, and with ``functions`` also inside functions."""
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    visit(other)
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not functions:
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                found.add(child.module)
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def tops(path, *, functions):
    return {name.partition(".")[0] for name in imports(path, functions=functions)}


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(REGISTRY)))
def test_light_half_of_the_registry_imports_nothing_heavy(path):
    assert not tops(path, functions=False) & HEAVY
    of_core = {name for name in imports(path, functions=False) if name.partition(".")[0] == "flowloom"}
    assert of_core <= {"flowloom.errors", "flowloom.defaults"}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_core_knows_no_registry_and_no_plugin(path):
    found = tops(path, functions=True)
    assert not {name for name in found if name.startswith("flowloom_")}
    assert not found & {"yaml", "pluggy", "argparse"}


@pytest.mark.parametrize("path", PLUGIN_MODULES, ids=lambda path: path.parent.name)
def test_plugin_modules_import_only_the_registry_and_the_standard_library(path):
    assert not tops(path, functions=True) - {"flowloom_registry"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", PLUGIN_MODULES, ids=lambda path: path.parent.name)
def test_plugins_know_no_other_plugin(path):
    for source in path.parent.rglob("*.py"):
        ours = {name for name in tops(source, functions=True) if name.startswith("flowloom_")}
        assert ours <= {"flowloom_registry", path.parent.name}


def test_registry_knows_no_plugin():
    for path in REGISTRY.rglob("*.py"):
        ours = {name for name in tops(path, functions=True) if name.startswith("flowloom_")}
        assert ours <= {"flowloom_registry"}, path
