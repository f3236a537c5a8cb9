"""The package's own names: found when they are asked for, and known to type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flowloom

FOLDER = Path(flowloom.__file__).parent
FLAT = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def for_type_checkers():
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return [alias.asname for line in block.body for alias in line.names]


def test_type_checkers_know_every_name_that_is_there():
    assert sorted([*for_type_checkers(), "__version__"]) == dir(flowloom)


@pytest.mark.parametrize("name", dir(flowloom))
def test_every_name_is_found(name):
    assert getattr(flowloom, name) is not None


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'flowloom' has no attribute 'geometri'"):
        _ = flowloom.geometri


def test_importing_the_package_costs_no_torch():
    code = "import sys, flowloom; dir(flowloom); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_training_starts_without_the_compiler():
    slow = "{'torch._dynamo', 'scipy'} & set(sys.modules)"
    code = f"import sys, flowloom.training as _; sys.exit(bool({slow}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", FLAT)
def test_flat_modules_say_what_is_theirs(name):
    """``__all__`` holds every public class, function, alias and constant that the module defines."""
    module = getattr(flowloom, name)
    tree = ast.parse(Path(module.__file__).read_text())
    own = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Assign):
            own.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
    public = {one for one in own if not one.startswith("_")}
    assert sorted(module.__all__) == sorted(public)
