# ruff: noqa: E501  (expected messages are single lines)
"""extends, --set, and the resolved recipe."""

import os

import pytest
from fakeflow.parts import Adaptive, Midpoint, Sphere

from flowloom_registry import build, load_recipe
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import plain
from flowloom_registry.errors import ConfigError, UnknownComponentError

GOOD = "data: {use: digits, size: 4}\nmodel: {use: net, width: 8}\n"


def test_by_registered_name(fakes):
    recipe = load_recipe("digits-net", catalog=fakes)
    assert (recipe.name, recipe.summary) == ("digits-net", "a net on digits")
    assert build(recipe)["solver"] == Adaptive(1e-4)
    assert load_recipe("fakes:digits-net", catalog=fakes).name == "digits-net"


def test_unknown_name_and_missing_file(fakes, tmp_path):
    with pytest.raises(
        UnknownComponentError, match=r"no recipe is named 'digit-net'; did you mean 'digits-net'\?"
    ):
        load_recipe("digit-net", catalog=fakes)
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: there is no such file"):
        load_recipe(tmp_path / "absent.yaml", catalog=fakes)


def test_extends_merges_key_by_key(load, tmp_path):
    load(GOOD + "solver: {use: adaptive, rtol: 0.1, controller: constant}\ntrain: {steps: 5, batch: 2}\n",
         name="base.yaml")  # fmt: skip
    built = build(load("extends: base.yaml\nsolver: {rtol: 0.2}\ntrain: {steps: 6}\nmodel: {norm: layer}\n"))
    assert built["solver"] == Adaptive(0.2, "constant")
    assert (built["train"].steps, built["train"].batch) == (6, 2)
    assert (built["model"].settings["width"], built["model"].settings["norm"]) == (8, "layer")


def test_another_use_replaces_the_section_whole(load):
    load(GOOD + "solver: {use: adaptive, rtol: 0.1}\n", name="base.yaml")
    assert build(load("extends: base.yaml\nsolver: {use: midpoint, steps: 3}\n"))["solver"] == Midpoint(3)
    assert build(load("extends: base.yaml\nsolver: midpoint\n"))["solver"] == Midpoint()
    assert build(load("extends: base.yaml\nsolver: adaptive\n"))["solver"] == Adaptive(0.1)


def test_merging_under_a_choice_and_over_a_bare_name(load):
    load("data: digits\nmodel: net\nsolver: {steps: 9}\n", name="base.yaml")
    assert build(load("extends: base.yaml\n"))["solver"] == Midpoint(9)
    # Whose steps those are depends on the geometry, so a solver that is named begins anew.
    assert build(load("extends: base.yaml\nsolver: midpoint\n"))["solver"] == Midpoint()
    assert build(load("extends: base.yaml\ndata: {size: 2}\n"))["data"].size == 2


def test_nested_use_follows_the_same_rule(load):
    load(GOOD + "geometry: {use: product, parts: {a: {use: sphere, dim: 3}, b: {use: sphere, dim: 4}}}\n",
         name="base.yaml")  # fmt: skip
    built = build(load("extends: base.yaml\ngeometry: {parts: {a: euclidean, b: {radius: 2}}}\n"))
    assert type(built["geometry"].parts["a"]).__name__ == "Euclidean"
    assert built["geometry"].parts["b"] == Sphere(4, 2.0)


def test_equal_strings_stay_strings(load):
    load(GOOD.replace("8}", "8, norm: layer}"), name="base.yaml")
    built = build(load("extends: base.yaml\nmodel: {norm: layer}\n"))
    assert built["model"].settings["norm"] == "layer"


def test_what_describes_the_base_is_not_inherited(load):
    load(GOOD + "name: base\nsummary: s\npaper: '2210.02747'\nclaim: {a: 1}\nseed: 4\n", name="base.yaml")
    child = load("extends: base.yaml\n", name="child.yaml")
    assert (child.name, child.summary, child.paper) == ("child", "", "")
    assert child.tree.get("claim") is None
    assert build(child).seed == 4


def test_errors_in_the_base_point_into_the_base(load, tmp_path):
    load(
        GOOD + "solver: {use: adaptive, rtol: tight}\nsource: {use: gaussian, std: wide}\n", name="base.yaml"
    )
    with pytest.raises(ConfigError) as caught:
        build(load("extends: base.yaml\nsource: {std: 2}\nseed: x\n"))
    lines = [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]
    assert [line.split(": ")[:2] for line in lines] == [
        ["r.yaml:3:7", "seed"],
        ["base.yaml:3:31", "solver.rtol"],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: r.yaml\n", "in a circle: r.yaml -> r.yaml"),
        ("extends: {a: b}\n", "r.yaml:1:10: extends: expected a recipe (file or name) or a list of them, got a mapping"),
        ("extends: [digits-net, 3]\n", "r.yaml:1:23: extends: expected a recipe (file or name) or a list of them, got 3"),
        ("extends: []\n", "r.yaml:1:10: extends: expected a recipe (file or name) or a list of them, got a list of 0"),
        ("extends: digitsnet\n", "r.yaml:1:10: extends: no recipe is named 'digitsnet'; did you mean 'digits-net'?"),
        ("extends: nowhere.yaml\n", "nowhere.yaml: cannot be read: there is no such file"),
    ],
)  # fmt: skip
def test_bad_extends(problems, text, words):
    (line,) = problems(text)
    assert words in line


def test_extends_a_registered_recipe(load):
    assert build(load("extends: digits-net\ntrain: {batch: 1}\n"))["train"].steps == 10


def test_extends_a_list_and_later_ones_win(load):
    load(
        "summary: a part\nsolver: {use: adaptive, rtol: 0.1}\ngeometry: {use: sphere, dim: 3}\n",
        name="part.yaml",
    )
    load(GOOD + "solver: {use: midpoint, steps: 4}\ntrain: {steps: 5}\n", name="base.yaml")
    recipe = load("extends: [base.yaml, part.yaml]\ntrain: {batch: 3}\n")
    built = build(recipe)
    assert built["solver"] == Adaptive(0.1)
    assert built["geometry"] == Sphere(3)
    assert (built["train"].steps, built["train"].batch) == (5, 3)
    assert recipe.summary == ""
    assert build(load("extends: [part.yaml, base.yaml]\n"))["solver"] == Midpoint(4)


def test_layers_are_laid_over(load, fakes, tmp_path):
    load("summary: a part\nsolver: midpoint\nschedule: null\n", name="part.yaml")
    recipe = load_recipe(
        "digits-net", layers=[tmp_path / "part.yaml"], overrides=["solver.steps=7"], catalog=fakes
    )
    assert (recipe.name, recipe.summary) == ("digits-net-part", "a net on digits")
    assert build(recipe)["solver"] == Midpoint(7)


def test_set(load):
    built = build(load(GOOD, "solver=adaptive", "solver.rtol=1e-3", "train.betas=[0.1, 0.2]", "seed=5",
                       "model.extra={a: 1}", "geometry.use=sphere", "codec=", "metrics=[frechet, frechet]",
                       "metrics.1.k=9"))  # fmt: skip
    assert built["solver"] == Adaptive(1e-3)
    assert built["train"].betas == (0.1, 0.2)
    assert built.seed == 5
    assert built["model"].settings["extra"] == {"a": 1}
    assert built["geometry"] == Sphere()
    assert [metric.k for metric in built["metrics"]] == [5, 9]


def test_set_on_a_default_and_on_an_absent_record(load):
    built = build(load(GOOD, "solver.steps=3", "train.steps=4"))
    assert built["solver"] == Midpoint(3)
    assert built["train"].steps == 4


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("solver.stps=3", "--set solver.stps=3: solver.stps: Midpoint takes no parameter 'stps'; did you mean 'steps'?; "
                          "it takes: steps"),
        ("solvr.steps=3", "--set solvr.steps=3: solvr: a recipe has no section 'solvr'; did you mean 'solver'?; "),
        ("solver.steps=x", "--set solver.steps=x: solver.steps: expected int, got 'x' (str)"),
        ("solver.steps", "--set solver.steps: an override is written a.b=value, and this has no '='"),
        ("=3", "--set =3: '' is no dotted path such as 'train.steps'"),
        ("a..b=3", "--set a..b=3: 'a..b' is no dotted path such as 'train.steps'"),
        ("train.betas=[1, 2", "--set train.betas=[1, 2: not valid YAML: "),
        ("train.steps.deep=1", "--set train.steps.deep=1: train.steps: expected int, got a mapping with 'deep'"),
        ("metrics.2.k=1", "--set metrics.2.k=1: metrics: a list of 1 takes an index from 0 to 0, got '2'"),
        ("metrics.first.k=1", "--set metrics.first.k=1: metrics: a list of 1 takes an index from 0 to 0, got 'first'"),
        ("model=", "--set model=: model: a recipe needs a section 'model:' (the network); "),
        ("geometry.dim=2", "--set geometry.dim=2: geometry.dim: Euclidean takes no parameter 'dim'; it takes: none"),
        ("model=./a.py:B", "--set model=./a.py:B: model: './a.py:B': there is no file"),
    ],
)  # fmt: skip
def test_bad_set(problems, override, line):
    (got,) = problems(GOOD + "metrics: [frechet]\n", override)
    assert got.startswith(line)


FULL = """\
name: everything
summary: a summary
paper: 2210.02747v1
seed: 11
data: {use: digits, size: 4, root: some/where}
codec: halving
geometry: {use: product, parts: {a: {use: sphere, dim: 3}, b: euclidean}}
schedule: cosine
path: {use: geodesic, on: {use: sphere, radius: 1e-9}}
model: {use: net, scale: '1e-4', rates: [1, .inf], norm: null}
teacher: {use: made}
solver: {use: adaptive, rtol: 1e-4}
metrics: [frechet, {use: frechet, k: 3}]
train: {steps: 10, notes: ['yes', 'null', '12']}
claim: {metric: frechet, ratio: 1.5}
"""


def test_resolved_recipe_builds_the_same_objects(load):
    built = build(load(FULL, "train.batch=3"))
    text = built.resolved()
    again = build(load(text, name="resolved.yaml"))
    assert again.parts == built.parts
    assert set(again.parts) >= {"data", "codec", "geometry", "schedule", "path", "model", "teacher", "solver",
                                "metrics", "train"}  # fmt: skip
    assert again.seed == 11
    assert again.recipe.tree.get("claim") is None  # what is claimed is no part of what a run is
    assert again.recipe.name == "everything"
    assert again.resolved() == text


def test_resolved_recipe_says_everything(load):
    tree = plain(load(build(load("data: digits\nmodel: net\n")).resolved(), name="resolved.yaml").tree)
    assert tree["model"] == {
        "use": "fakes:net", "width": 32, "rates": [0.5, 1.0], "block": [2, 2], "norm": "group", "attention": False,
        "extra": None, "scale": "auto",
    }  # fmt: skip
    assert tree["solver"] == {"use": "fakes:midpoint", "steps": 16}
    assert tree["train"]["betas"] == [0.9, 0.999]
    assert tree["data"] == {"use": "fakes:digits", "size": 8, "root": None}
    assert "extends" not in tree


def test_resolved_recipe_needs_no_base(load, tmp_path):
    load(GOOD + "solver: {use: adaptive, rtol: 0.1}\n", name="base.yaml")
    text = build(load("extends: base.yaml\n")).resolved()
    (tmp_path / "base.yaml").unlink()
    assert build(load(text))["solver"] == Adaptive(0.1)


def test_resolved_recipe_can_still_be_overridden(load):
    text = build(load(GOOD)).resolved()
    built = build(load(text, "schedule=cosine", "geometry=sphere"))
    assert built["path"].schedule is built["schedule"]
    assert built["path"].geometry is built["geometry"]


def test_resolved_recipe_finds_a_file_component_from_anywhere(load, tmp_path):
    (tmp_path / "mine.py").write_text("from fakeflow.contracts import Geometry\nclass Cube(Geometry): ...\n")
    text = build(load(GOOD + "geometry: ./mine.py:Cube\n")).resolved()
    (tmp_path / "run").mkdir()
    assert type(build(load(text, name="run/r.yaml"))["geometry"]).__name__ == "Cube"


def test_resolved_recipe_names_the_versions(fake_tables, tmp_path):
    import importlib.metadata

    from flowloom_registry import discover

    (tmp_path / "fakeflow-1.2.dist-info").mkdir()
    (tmp_path / "fakeflow-1.2.dist-info" / "METADATA").write_text("Name: fakeflow\nVersion: 1.2\n")
    (tmp_path / "fakeflow-1.2.dist-info" / "entry_points.txt").write_text(
        "[flowloom]\nfakes = fakeflow.plugin\n"
    )
    (distribution,) = importlib.metadata.distributions(path=[str(tmp_path)])
    catalog = discover(entry_points=distribution.entry_points, strict=True, **fake_tables)
    (tmp_path / "r.yaml").write_text(GOOD)
    tree = load_recipe(tmp_path / "r.yaml", catalog=catalog)
    (tmp_path / "s.yaml").write_text(build(tree).resolved())
    assert plain(load_recipe(tmp_path / "s.yaml", catalog=catalog).tree)["versions"] == {"fakes": "1.2"}
    assert build(load_recipe(tmp_path / "s.yaml", catalog=catalog))["model"] is not None


def test_a_recipe_that_many_extend_is_read_once(fakes, tmp_path):
    """Each of thirty files extends the next twice: read again every time, that would be 2^30 readings."""
    for i in range(30):
        (tmp_path / f"b{i}.yaml").write_text(f"extends: [b{i + 1}.yaml, b{i + 1}.yaml]\n")
    (tmp_path / "b30.yaml").write_text("summary: the last\n")
    recipe = load_recipe(tmp_path / "b0.yaml", catalog=fakes)
    assert recipe.tree.get("extends") is not None
    assert not recipe.problems


def test_what_is_no_file_or_far_too_large_is_not_read(fakes, tmp_path):
    with pytest.raises(ConfigError, match="is no file"):
        load_recipe("/dev/zero", catalog=fakes)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="is no file"):
        load_recipe(tmp_path / "pipe.yaml", catalog=fakes)
    (tmp_path / "large.yaml").write_bytes(b"#" * (5 * 2**20))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load_recipe(tmp_path / "large.yaml", catalog=fakes)


@pytest.mark.parametrize("base", ["missing.yaml", "folder.yaml", "a\\0b.yaml"])
def test_an_extended_recipe_that_cannot_be_read_is_told_at_the_line_that_asks_for_it(tmp_path, base):
    (tmp_path / "folder.yaml").mkdir()
    file = tmp_path / "recipe.yaml"
    file.write_text(f'seed: 1\nextends: [digits, "{base}"]\n')
    with pytest.raises(ConfigError, match=r"recipe\.yaml:2:19: extends: .*cannot be read"):
        load_recipe(file)


def test_a_word_of_hundreds_of_letters_is_cut_in_the_message(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{'s' * 999}: 1\n")
    with pytest.raises(ConfigError) as told:
        check(load_recipe(file))
    assert "s" * 60 + "..." in str(told.value)
    assert "s" * 61 not in str(told.value)
