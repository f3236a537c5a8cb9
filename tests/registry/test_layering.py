"""Who may import whom: plugins -> registry -> core -> torch; the registry's listing half stays light."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "flowloom"
REGISTRY = ROOT / "registry" / "flowloom_registry"
HEAVY = {"torch", "numpy", "scipy", "transformers", "matplotlib", "sklearn", "rich"}
HEAVY_ROOMS = ("runs", "studies", "delivery")
LIGHT = [p for p in REGISTRY.rglob("*.py") if p.relative_to(REGISTRY).parts[0] not in HEAVY_ROOMS]
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
    light = ("clashes", "defaults", "digits", "errors", "kinds")
    assert of_core <= {f"flowloom.{name}" for name in light}


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


ROOMS = ("plugins", "config", "pages", "runs", "studies", "delivery", "reference", "cli")
"""The registry's rooms, from the bottom to the top."""
BESIDE = {"conformance": "runs", "scaffold": "plugins", "pytest_plugin": "cli", "__main__": "cli"}
BESIDE["__init__"] = "cli"
"""Modules that are no room, and the room beside which they stand."""


def room_of(name):
    """Height of a module of the registry; None for those that every room may import."""
    word = [*name.split("."), "__init__"][1]
    word = BESIDE.get(word, word)
    return ROOMS.index(word) if word in ROOMS else None


@pytest.mark.parametrize("path", sorted(REGISTRY.rglob("*.py")), ids=lambda p: str(p.relative_to(REGISTRY)))
def test_the_rooms_of_the_registry_have_arrows_one_way(path):
    """None imports from a room above its own (`ROOMS`), in functions neither."""
    own = room_of(".".join(["flowloom_registry", *path.relative_to(REGISTRY).with_suffix("").parts]))
    for name in imports(path, functions=True):
        if name.startswith("flowloom_registry"):
            above = room_of(name)
            assert above is None or (own is not None and above <= own), f"{path} imports {name}"


def core_modules():
    return {
        ".".join(["flowloom", *path.relative_to(CORE).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in CORE.rglob("*.py")
    }


def core_arrows():
    """Room of core -> rooms that it imports, inside functions too; a room is what lies at its top."""
    modules = core_modules()
    arrows = {}
    for name, path in modules.items():
        room = ".".join(name.split(".")[:2])
        for other in members(path, modules):
            above = ".".join(other.split(".")[:2])
            if above != room:
                arrows.setdefault(room, set()).add(above)
    return arrows


def members(path, modules):
    """Modules of core that a file imports, by the longest name that is a module."""
    found = set()
    for node in ast.walk(without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in modules else node.module for name in full)
    return {name for name in found if name.partition(".")[0] == "flowloom"}


def without_type_checking(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    return tree


def circle_in(arrows):
    """A circle of rooms, as a list that ends where it begins, or None."""
    done = set()

    def visit(room, trail):
        if room in trail:
            return [*trail[trail.index(room) :], room]
        if room in done:
            return None
        for other in sorted(arrows.get(room, ())):
            circle = visit(other, [*trail, room])
            if circle:
                return circle
        done.add(room)
        return None

    return next(filter(None, (visit(room, []) for room in sorted(arrows))), None)


def test_the_rooms_of_core_have_arrows_one_way():
    circle = circle_in(core_arrows())
    assert circle is None, " -> ".join(circle)


def test_a_circle_would_be_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
