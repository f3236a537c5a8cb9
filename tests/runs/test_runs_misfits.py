# ruff: noqa: E501  (recipes and messages are single lines)
"""Parts that cannot work together are refused when the recipe is built: which two, why, and what would fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowloom_registry import load_recipe
from flowloom_registry.cli import main
from flowloom_registry.errors import ConfigError
from flowloom_registry.runs.assembly import assemble
from flowloom_registry.runs.evaluate import evaluate

HEAD = "data: {use: eight-gaussians, n: 50}\nmodel: {use: mlp, width: 8, depth: 1}\ntrain: {steps: 1, batch: 4}\n"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("geometry: {use: sphere, dim: 1}\nsource: gaussian\npath: geodesic", ["source + geometry", "use source: uniform"]),
        ("geometry: {use: sphere, dim: 1}\nsource: uniform\npath: affine", ["path + geometry", "use path: geodesic"]),
        ("solver: ctmc-euler", ["solver", "posterior", "euler, midpoint"]),
        ("solver: flow-map", ["solver", "flow-map", "velocity"]),
        ("source: {use: dataset, dataset: moons}\nsolver: euler-maruyama", ["euler-maruyama", "gaussian source"]),
        ("guidance: {use: classifier-free, scale: 2.0}", ["guidance + objective", "condition_dropout"]),
        ("source: uniform", ["no uniform law on all of R^n", "gaussian"]),
        ("geometry: {use: product, parts: {a: euclidean}}", ["geometry + data", "one tensor"]),
        ("geometry: {use: sphere, dim: 2}\nsource: uniform\npath: geodesic", ["geometry + data", "have the shape (3,), the data has rows of (2,)"]),
        ("geometry: {use: torus, periods: [8.0, 8.0, 8.0]}\nsource: uniform\npath: geodesic", ["geometry + data", "(3,)"]),
        ("geometry: {use: discrete, vocab: 4}\nsource: uniform\npath: mixture\nobjective: posterior\nsolver: ctmc-euler", ["geometry + data", "real-valued"]),
        ("path: {use: geodesic, geometry: {use: sphere, dim: 1}}", ["path + geometry", "GeodesicPath moves on Sphere(dim=1)", "states live on Euclidean()"]),
        ("geometry: {use: sphere, dim: 1}\nsource: {use: uniform, geometry: {use: torus, periods: [1.0, 1.0]}}", ["source + geometry", "Uniform draws from FlatTorus", "states live on Sphere(dim=1)"]),
        ("coupling: {use: optimal-transport, within: lable}", ["coupling + data", "confined within 'lable'", "it has: label"]),
        ("objective: {use: flow-matching, path: {use: geodesic, geometry: {use: sphere, dim: 1}}}", ["objective + geometry", "moves on Sphere(dim=1)"]),
    ],
)  # fmt: skip
def test_misfits(tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, said: list[str]) -> None:
    recipe = tmp_path / "misfit.yaml"
    recipe.write_text(HEAD + extra + "\n")
    code = main(["run", str(recipe), "--out", str(tmp_path / "run")])
    err = capsys.readouterr().err
    assert code == 2, err
    assert "Traceback" not in err
    assert f"{recipe}:" in err, "every problem has its place"
    for words in said:
        assert words in err
    assert not (tmp_path / "run").exists(), "nothing is written for a recipe that cannot be built"


@pytest.mark.parametrize("metric", ["energy-distance"])
def test_a_fitting_recipe_on_a_curved_space_runs(tmp_path: Path, metric: str) -> None:
    recipe = tmp_path / "torus.yaml"
    recipe.write_text(
        HEAD
        + "geometry: {use: torus, periods: 8.0}\nsource: uniform\npath: geodesic\nsolver: {use: euler, steps: 2}\n"
        f"metrics: [{metric}]\nevaluate: {{n: 20, sweep_nfe: []}}\n"
    )
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 0


def test_metrics_see_data_and_samples_in_the_same_turn_of_a_circle(tmp_path: Path) -> None:
    recipe = tmp_path / "torus.yaml"
    recipe.write_text(
        HEAD + "geometry: {use: torus, periods: 8.0}\nsource: uniform\npath: geodesic\n"
        "metrics: [energy-distance]\nevaluate: {n: 20, sweep_nfe: []}\n"
    )
    assembly = assemble(load_recipe(str(recipe)))
    seen = []
    assembly.metrics[0] = type(
        "Spy",
        (),
        {
            "better": {},
            "paired": False,
            "draws": 1,
            "fit": lambda *_: None,
            "__call__": lambda *a: seen.extend(a[1:]) or {},
        },
    )()
    assert float(assembly.data.all().x.min()) < 0
    evaluate(assembly)
    for examples in seen:
        assert 0 <= float(examples.x.min()) <= float(examples.x.max()) <= 8
    assert len(seen) == 6, "samples, floor and baseline, each beside the reference"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("source={use: mask, geometry: {use: discrete, vocab: 5}}", "Mask draws from Discrete(vocab=5)"),
        (
            "source={use: uniform, geometry: {use: discrete, vocab: 5}}",
            "Uniform draws from Discrete(vocab=5)",
        ),
        (
            "path={use: mixture, geometry: {use: discrete, vocab: 7}}",
            "MixturePath moves on Discrete(vocab=7)",
        ),
        (
            "objective={use: posterior, path: {use: mixture, geometry: {use: discrete, vocab: 7}}}",
            "MixturePath moves on Discrete(vocab=7)",
        ),
    ],
)
def test_a_vocabulary_of_a_parts_own(words: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        assemble(load_recipe("markov", overrides=[words]))
    assert said in str(caught.value)
    assert "states live on Discrete(vocab=12)" in str(caught.value)


def test_a_space_said_twice_in_the_same_words_is_one(tmp_path: Path) -> None:
    words = [
        "source={use: uniform, geometry: {use: sphere, dim: 2}}",
        "path={use: geodesic, geometry: {use: sphere, dim: 2}}",
    ]
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "data: {use: von-mises-fisher, n: 50}\nmodel: {use: mlp, width: 8}\ngeometry: {use: sphere, dim: 2}\n"
    )
    assemble(load_recipe(recipe, overrides=words))


def test_a_model_that_is_no_module_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "class Plain:\n    def __call__(self, x, t, **cond):\n        return -x\n"
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: {use: eight-gaussians, n: 50}\nmodel: ./mine.py:Plain\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert "Plain is no torch.nn.Module" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SILENT = """
from flowloom.solvers import Euler
from flowloom.solvers.walk import Solution

class Silent(Euler):
    def solve(self, field, x0, **words):
        end = super().solve(field, x0, **{**words, "keep": 0})
        return Solution(end.x, end.nfe)
"""


def test_a_solver_that_keeps_no_trajectory_costs_a_figure_and_no_run(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(SILENT)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(HEAD + "solver: {use: ./silent.py:Silent, steps: 2}\nrenderer: scatter\nmetrics: []\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
