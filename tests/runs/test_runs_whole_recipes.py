# ruff: noqa: E501  (recipes and messages are single lines)
"""What a recipe leaves out: the same choice as in Python, on every space; and product states by the names of parts."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import flowloom as fl
from flowloom import defaults
from flowloom_registry import build, load_recipe
from flowloom_registry.cli import main
from flowloom_registry.errors import ConfigError

ROOT = Path(__file__).parents[2]
ARROWS = """
import torch
from flowloom.data import Tensors

class Arrows(Tensors):
    def __init__(self, n: int = 64) -> None:
        g = torch.Generator().manual_seed(0)
        heading = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
        super().__init__({"where": torch.randn(n, 2, generator=g), "heading": heading})
"""
ATOMS = """
import torch
from flowloom.data import Tensors

class Atoms(Tensors):
    def __init__(self, n: int = 64) -> None:
        g = torch.Generator().manual_seed(0)
        super().__init__({"pos": torch.randn(n, 4, 3, generator=g), "types": torch.randint(5, (n, 4),
        generator=g)})
"""
SMALL = "model: {use: mlp, width: 8, depth: 1}\ntrain: {steps: 3, batch: 16}\nsample: {n: 4, rows: 2}\n"
SPACE = "geometry: {use: product, parts: {where: euclidean, heading: {use: sphere, dim: 2}}}\n"
SOURCE = "source: {use: product, parts: {where: gaussian, heading: uniform}}\n"
PATH = "path: {use: product, parts: {where: affine, heading: geodesic}}\n"
TYPES = "geometry: {use: product, parts: {pos: euclidean, types: discrete}}\n"
WORDS = {
    "source": "source: {use: product, parts: {pos: gaussian, types: mask}}\n",
    "path": "path: {use: product, parts: {pos: affine, types: mixture}}\n",
    "objective": "objective: {use: product, parts: {pos: flow-matching, types: posterior}}\n",
    "solver": "solver: {use: mixed, parts: {pos: euler, types: ctmc-euler}}\n",
}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "arrows.py").write_text(ARROWS)
    (tmp_path / "atoms.py").write_text(ATOMS)

    def make(text):
        file = tmp_path / "r.yaml"
        file.write_text(text)
        return file

    return make


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("data: ./arrows.py:Arrows\n" + SPACE + SOURCE + PATH, id="source and path by part"),
        pytest.param(
            "data: ./arrows.py:Arrows\n"
            + SPACE
            + PATH
            + "source: {use: product, parts: {where: gaussian, heading: {use: uniform, geometry: {use: sphere, dim: 2}}}}\n",
            id="a geometry given in place",
        ),
        pytest.param("data: ./arrows.py:Arrows\n" + SPACE, id="a product of spaces alone"),
        pytest.param("data: ./atoms.py:Atoms\n" + TYPES + "".join(WORDS.values()), id="tokens, all by part"),
        pytest.param("data: ./atoms.py:Atoms\n" + TYPES + WORDS["objective"], id="objective by part"),
        pytest.param("data: ./atoms.py:Atoms\n" + TYPES, id="positions and types alone"),
        pytest.param("data: ./atoms.py:Atoms\n", id="not even a geometry"),
        pytest.param(
            "data: ./arrows.py:Arrows\n"
            "geometry: {use: product, parts: {where: euclidean, heading: {use: sphere, dim: 2}}}\n"
            "source: {parts: {heading: {use: uniform}}}\nsolver: {steps: 2}\n",
            id="one part and one number said, the rest chosen",
        ),
    ],
)
def test_products_run_by_the_names_of_their_parts(tmp_path, write, text, capsys):
    recipe = write(text + SMALL)
    assert main(["run", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0, (
        capsys.readouterr().err
    )
    resolved = (tmp_path / "run" / "recipe.yaml").read_text()
    assert main(["sample", str(tmp_path / "run"), "-n", "2", "--trust"]) == 0
    again = build(load_recipe(tmp_path / "run" / "recipe.yaml", trusted=True))
    assert again.resolved(tmp_path / "run") == resolved
    for part, space in again["geometry"].parts.items():
        assert again["source"].parts[part] is not None
        assert again["path"].geometry.parts[part] is space


def test_the_shipped_product_recipe_runs_to_its_report(tmp_path, capsys):
    out = tmp_path / "run"
    words = [
        "--set",
        "train.steps=8",
        "--set",
        "data.n=300",
        "--set",
        "evaluate.n=50",
        "--set",
        "sample.n=20",
    ]
    assert main(["run", "toy-molecules", *words, "--out", str(out)]) == 0, capsys.readouterr().err
    assert (out / "report.html").is_file()
    assert main(["sample", str(out), "-n", "5"]) == 0
    flow = fl.Flow(fl.models.MLP(fl.data.Molecules(10).spec, width=8))
    assert flow.spec.parts["types"].vocab == 3


def spaces():
    yield "euclidean", "eight-gaussians", fl.geometry.Euclidean()
    yield "box", "eight-gaussians", fl.geometry.Box(-3.0, 3.0)
    yield "torus", "wrapped-normals", fl.geometry.FlatTorus()
    yield "{use: sphere, dim: 2}", "von-mises-fisher", fl.geometry.Sphere(2)
    yield "discrete", "markov", fl.geometry.Discrete(4)
    yield (
        "{use: product, parts: {pos: euclidean, types: discrete}}",
        "toy-molecules",
        fl.geometry.Product({"pos": fl.geometry.Euclidean(), "types": fl.geometry.Discrete(3)}),
    )


def shape_of(part):
    """Class of a part, with those of the parts inside it."""
    inner = getattr(part, "parts", None)
    own = type(part).__qualname__
    return (own, {k: shape_of(v) for k, v in inner.items()}) if isinstance(inner, dict) else own


@pytest.mark.parametrize(("written", "data", "space"), list(spaces()), ids=lambda value: str(value)[:30])
def test_recipes_and_python_choose_alike(write, written, data, space):
    recipe = write(f"data: {data}\ngeometry: {written}\nmodel: {{use: mlp, width: 8}}\n")
    built = build(load_recipe(recipe))
    source = defaults.source(space)
    path = defaults.path(space, source)
    objective = defaults.objective(path)
    assert shape_of(built["source"]) == shape_of(source)
    assert shape_of(built["path"]) == shape_of(path)
    assert shape_of(built["objective"]) == shape_of(objective)
    assert shape_of(built["solver"]) == shape_of(defaults.solver(space))
    again = build(load_recipe(write(built.resolved())))
    for section in ("geometry", "source", "path", "objective", "solver"):
        assert shape_of(again[section]) == shape_of(built[section])


def test_geometries_follow_from_the_states(write):
    for data, kind in {"moons": "Euclidean", "markov": "Discrete", "toy-molecules": "Product"}.items():
        built = build(load_recipe(write(f"data: {data}\nmodel: {{use: mlp, width: 8}}\n")))
        assert type(built["geometry"]).__name__ == kind
        assert type(defaults.geometry(built["data"].spec)).__name__ == kind
    encoded = build(load_recipe(write("data: markov\ncodec: one-hot\nmodel: {use: mlp, width: 8}\n")))
    assert type(encoded["geometry"]).__name__ == "Euclidean"


def test_a_word_that_only_recipes_know_is_told_in_python():
    class Mine(fl.geometry.Euclidean):
        defaults: ClassVar = {"source": "somewhere:law"}

    with pytest.raises(fl.errors.IncompatibleError, match="asks for source: somewhere:law"):
        defaults.source(Mine())


@pytest.mark.parametrize(
    "section", ["geometry", "source", "coupling", "path", "objective", "solver", "feed", "model", "data"]
)
def test_null_is_told_with_its_line(tmp_path, write, section, capsys):
    lines = {"data": "eight-gaussians", "model": "mlp"} | {section: "null"}
    recipe = write("".join(f"{name}: {value}\n" for name, value in lines.items()))
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    line = list(lines).index(section) + 1
    assert f"{recipe}:{line}:{len(section) + 3}: {section}: a recipe " in err
    assert "Traceback" not in err


def test_no_data_and_a_feed_that_needs_none(tmp_path, write, capsys):
    recipe = write("model: mlp\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"{recipe}:1:1: data: a recipe needs a section 'data:' (the examples); "
        "'flowloom list dataset' shows what can stand there\n"
    )
    built = build(load_recipe(write("feed: {use: prior-only, shape: [2]}\nmodel: {use: mlp, width: 8}\n")))
    assert built["model"].spec.shape == (2,)
    assert "data" not in built.parts
    fed = write("feed: rows\nmodel: mlp\n")
    with pytest.raises(
        ConfigError, match=r"r.yaml:1:7: feed.data: Rows needs a dataset; add a section 'data:'"
    ):
        build(load_recipe(fed))


def test_arrays_of_ones_own_are_data_in_one_line(tmp_path, write, capsys):
    past = np.random.default_rng(0).normal(size=(60, 3, 2)).astype(np.float32)
    np.savez(tmp_path / "walks.npz", x=past[:, 0] + 1, past=past)
    recipe = write("data: {use: tensors, file: walks.npz, conditions: {past: past}}\n" + SMALL)
    assert main(["run", str(recipe), "--out", str(tmp_path / "runs" / "a")]) == 0, capsys.readouterr().err
    assert "file: ../../walks.npz" in (tmp_path / "runs" / "a" / "recipe.yaml").read_text()
    recipe = write("data: {use: tensors, file: gone.npz}\n" + SMALL)
    assert main(["run", str(recipe), "--out", str(tmp_path / "runs" / "b")]) == 2
    assert (
        f"{recipe}:1:28: data: TensorFile: there is no file {tmp_path / 'gone.npz'}"
        in capsys.readouterr().err
    )


OBJECTIVE = """
import torch
from flowloom.objectives import FlowMatching
from flowloom.spec import Condition

class Asking(FlowMatching):
    def conditions(self):
        return {"scale": Condition(shape=())}

class Selfish(Asking):
    def __init__(self, path: "Path", model: "Model") -> None:
        super().__init__(path)
"""


def test_the_network_is_told_what_the_objective_asks(write, tmp_path):
    (tmp_path / "mine.py").write_text(OBJECTIVE)
    built = build(
        load_recipe(write("data: moons\nmodel: {use: mlp, width: 8}\nobjective: ./mine.py:Asking\n"))
    )
    assert set(built["model"].spec.conditions) == {"label", "scale"}
    selfish = write("data: moons\nmodel: {use: mlp, width: 8}\nobjective: ./mine.py:Selfish\n")
    with pytest.raises(ConfigError, match=r"r.yaml:3:12: objective.model: it asks the network for scale"):
        build(load_recipe(selfish))


ALLOWED = {"flowloom/__init__.py", "flowloom/libraries.py", "flowloom/testing"}


def test_no_component_imports_by_string():
    """A recipe names functions for the binder to import, which asks for trust; nobody else follows text."""
    found = []
    for base in (ROOT / "core" / "flowloom", *(ROOT / "plugins").glob("*/src")):
        for file in base.rglob("*.py"):
            name = str(file.relative_to(base.parent))
            if name.startswith(tuple(ALLOWED)) or (file.name == "__init__.py" and base.name == "src"):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                word = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
                if word in ("import_module", "__import__", "spec_from_file_location", "exec", "eval"):
                    # `model.eval()` is no import.
                    if word == "eval" and isinstance(node, ast.Attribute):
                        continue
                    found.append(f"{name}:{node.lineno}: {word}")
    assert found == []


def test_the_same_bits_whether_the_choice_was_written_or_not(write):
    def weights(text):
        torch.manual_seed(0)
        model = build(load_recipe(write(text)))["model"]
        return torch.cat([p.flatten() for p in model.parameters()])

    text = "data: toy-molecules\nmodel: {use: mlp, width: 8}\n"
    torch.manual_seed(0)
    resolved = build(load_recipe(write(text))).resolved()
    assert torch.equal(weights(text), weights(resolved))


def test_a_function_in_a_file_that_is_not_there_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "eight-gaussians", "--set", "feed={use: stream, read: ./gone.py:read}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(f"feed.read: {tmp_path}/gone.py:read: there is no file '{tmp_path}/gone.py'")
