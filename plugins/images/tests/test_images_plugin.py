"""The plugin's rows and recipes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules

import pytest
import yaml


class Recorder:
    """Stands in for the registrar and keeps what it is told."""

    def __init__(self):
        self.rows, self.recipes = [], []

    def add(self, kind, name, target, **row):
        self.rows.append((kind, name, target, row))

    def recipe(self, name, target, **row):
        self.recipes.append((name, target, row))

    def gather(self, package):
        home = import_module(package)
        for module in iter_modules(home.__path__):
            import_module(f"{package}.{module.name}").register(self)


@pytest.fixture(scope="module")
def told():
    from flowloom_images.plugin import flowloom_register

    recorder = Recorder()
    flowloom_register(recorder)
    return recorder


def test_targets_exist_and_take_their_examples(told):
    for _, _, target, row in told.rows:
        module, _, name = target.partition(":")
        constructor = inspect.signature(getattr(import_module(module), name))
        for argument in row.get("example", {}):
            assert argument in constructor.parameters
        assert row["summary"]


def test_recipes_use_known_words(told):
    names = {name for _, name, _, _ in told.rows}
    ours = {"digits", "mnist", "cifar10", "image-folder", "unet", "dit", "image-quality", "image-grid"}
    assert ours <= names
    for _, target, _ in told.recipes:
        package, _, path = target.partition(":")
        recipe = yaml.safe_load(files(package).joinpath(path).read_text())
        assert recipe["summary"]


def test_every_recipe_file_is_registered(told):
    shipped = {path.name for path in files("flowloom_images").joinpath("recipes").iterdir()}
    assert shipped == {target.rpartition("/")[2] for _, target, _ in told.recipes}


def test_recipes_have_no_problems(told):
    registry = pytest.importorskip("flowloom_registry")
    from flowloom_registry.config.check import check
    from flowloom_registry.config.stages import stages_of

    for name, _, _ in told.recipes:
        recipe = registry.load_recipe(name)
        for one in stages_of(recipe):
            if "model" in one.tree.entries:  # a part is told where it is laid over data
                check(one)


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, flowloom_images.plugin as p; "
        "heavy = {'torch', 'numpy', 'sklearn', 'PIL'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
