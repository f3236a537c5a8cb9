"""The examples in docstrings run, and importing core stays light."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import flowloom

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(flowloom.__path__, "flowloom.")
    if not m.name.startswith("flowloom.testing.suite")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples():
    tried = sum(doctest.testmod(importlib.import_module(n)).attempted for n in MODULES if "flow" in n)
    assert tried >= 15


def test_importing_the_package_costs_no_torch():
    code = "import sys, flowloom, flowloom.errors; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_kit_needs_no_pytest():
    code = "import sys, flowloom.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
