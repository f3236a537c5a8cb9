"""What the rest of a recipe fills in."""

import pytest
from fakeflow.contracts import Spec

from flowloom_registry import build
from flowloom_registry.errors import ConfigError

GOOD = "data: {use: digits, size: 8}\nmodel: net\n"


def test_section_fills_annotated_parameter_even_where_it_has_a_default(load):
    built = build(load(GOOD + "geometry: {use: sphere, dim: 5}\nschedule: {use: cosine, sharpness: 9}\n"))
    assert built["source"].geometry is built["geometry"]
    assert built["path"].schedule is built["schedule"]
    assert built["schedule"].sharpness == 9


def test_local_value_wins(load):
    built = build(
        load(GOOD + "geometry: {use: sphere, dim: 5}\nsource: {use: gaussian, geometry: euclidean}\n")
    )
    assert type(built["source"].geometry).__name__ == "Euclidean"


def test_components_in_lists_are_filled_too(load):
    built = build(load(GOOD + "metrics: [frechet, {use: frechet, k: 2, geometry: sphere}]\n"))
    assert built["metrics"][0].geometry is built["geometry"]
    assert type(built["metrics"][1].geometry).__name__ == "Sphere"


def test_spec_comes_from_the_data_and_after_a_codec_from_the_codec(load):
    assert build(load(GOOD))["model"].settings["spec"] == Spec((8, 8))
    built = build(load(GOOD + "codec: halving\n"))
    assert built["codec"].given == Spec((8, 8))
    assert built["model"].settings["spec"] == Spec((4, 4))


def test_spec_may_be_given_locally(load):
    built = build(load("data: digits\nmodel: {use: net, spec: {shape: [3], parts: {a: {shape: [1, 2]}}}}\n"))
    assert built["model"].settings["spec"] == Spec((3,), {"a": Spec((1, 2))})


def test_data_that_cannot_be_read_point_at_their_section(problems, tmp_path):
    (tmp_path / "absent.py").write_text(
        "from fakeflow.contracts import Dataset\n"
        "from flowloom.errors import DataError\n"
        "class Absent(Dataset):\n"
        "    @property\n"
        "    def spec(self):\n"
        "        raise DataError('there is no file x.gz')\n"
    )
    lines = problems("model: net\ndata: ./absent.py:Absent\n")
    assert lines == ["r.yaml:2:7: data: Absent: there is no file x.gz"]


def test_section_of_the_parameters_own_name_comes_first(load):
    built = build(load("data: digits\nmodel: distilled\nteacher: {use: net, width: 3}\n"))
    assert built["model"].teacher is built["teacher"]


def test_declared_but_absent_section_is_not_replaced_by_another_of_its_kind(problems):
    assert problems("data: digits\nmodel: distilled\n") == [
        "r.yaml:2:8: model.teacher: Distilled needs a model; add a section 'teacher:', or give it here"
    ]


@pytest.mark.parametrize("section", ["geometry", "source", "path", "solver"])
def test_what_a_flow_is_never_without_cannot_be_switched_off(problems, section):
    assert problems(GOOD + f"{section}: null\n") == [
        f"r.yaml:3:{len(section) + 3}: {section}: a recipe is never without a {section}; leave '{section}:' out "  # noqa: E501
        "for the one that stands there by default, or name one"
    ]


@pytest.mark.parametrize("section", ["codec", "schedule", "metrics", "train", "roles", "claim", "teacher"])
def test_null_is_the_same_as_leaving_out_what_a_flow_may_lack(load, section):
    assert build(load(GOOD + f"{section}: null\n")).parts.keys() == build(load(GOOD)).parts.keys()


def test_an_absent_section_that_is_asked_of_what_was_built_is_no_key_error(load):
    built = build(load("data: digits\nsummary: x\n"), needs=())
    with pytest.raises(ConfigError, match=r"r.yaml:1:1: model: a recipe needs a section 'model:'"):
        built["model"]


def test_mapping_without_use_means_the_default(load):
    assert build(load(GOOD + "solver: {steps: 3}\n"))["solver"].steps == 3


def test_sections_that_need_each_other(fake_discover, problems, tmp_path, monkeypatch):
    (tmp_path / "circle.py").write_text(
        "from fakeflow.contracts import Geometry, Source\n"
        "class Round(Geometry):\n    def __init__(self, source: Source): ...\n"
    )
    (line,) = problems(GOOD + "geometry: ./circle.py:Round\nsource: gaussian\n")
    assert "sections need each other: geometry needs source, source needs geometry" in line
    assert problems(GOOD + "geometry: ./circle.py:Round\n") == [
        "r.yaml:3:11: geometry.source: needs section 'source', which is left out and then follows from the "
        "geometry; add 'source:'"
    ]


def test_clashes_point_at_both_sections(problems, monkeypatch):
    from types import SimpleNamespace

    seen = []
    clash = SimpleNamespace(first="path", second="solver", message="the path is discrete")

    def find(parts):
        seen.append(set(parts))
        return [clash]

    monkeypatch.setattr("flowloom_registry.config.build.problems", find)
    text = GOOD + "path: affine\nsolver: midpoint\n"
    assert problems(text) == [
        "r.yaml:3:7: path + solver: the path is discrete; 'solver' is at r.yaml:4:9",
    ]
    assert {"data", "model", "path", "solver", "geometry", "train"} <= seen[0]
    assert "codec" not in seen[0]


def test_hints_that_only_type_checkers_import(load, tmp_path):
    """One module may use the contract `Path` and `pathlib.Path`; neither is taken for the other."""
    built = build(load("data: {use: digits, root: some/where}\nmodel: net\n"))
    assert built["data"].root == tmp_path / "some" / "where"


@pytest.mark.parametrize("kind", ["dataset", "codec", "geometry", "model"])
def test_examples_build(fakes, kind):
    from flowloom_registry import build_example

    given = {"spec": Spec((4, 4))}
    for row in fakes.of_kind(kind):
        if row.example:
            assert build_example(row, given=given, catalog=fakes) is not None


def test_bad_example_says_whose_it_is(fakes):
    from dataclasses import replace

    from flowloom_registry import build_example
    from flowloom_registry.errors import ConfigError

    row = replace(fakes.find("geometry", "sphere"), example={"dimm": 1})
    with pytest.raises(ConfigError, match=r"^example of geometry/fakes:sphere: dimm: Sphere takes no"):
        build_example(row, catalog=fakes)


def test_build_component(fakes):
    from fakeflow.parts import Sphere

    from flowloom_registry import build_component

    sphere = Sphere(4)
    source = build_component("source", "gaussian", {"std": 2}, given={"geometry": sphere}, catalog=fakes)
    assert source.geometry is sphere
    assert source.std == 2.0
