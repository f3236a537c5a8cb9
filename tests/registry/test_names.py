"""Parameters are filled by name: from the section, role, list or part that is called as they are."""

import pytest
from fakeflow.contracts import Spec
from fakeflow.parts import Euclidean, Sphere

from flowloom_registry import build, load_recipe
from flowloom_registry.errors import ConfigError

GOOD = "data: digits\nmodel: net\n"
PARTS = "data: parted\nmodel: net\ngeometry: {use: product, parts: {a: euclidean, b: sphere}}\n"


def test_a_teacher_is_never_the_student(load, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Model, Source\n"
        "class Judging(Source):\n"
        "    def __init__(self, critic: Model | None = None, model: Model | None = None):\n"
        "        self.critic, self.model = critic, model\n"
    )
    built = build(load(GOOD + "source: ./mine.py:Judging\n"))
    assert built["source"].critic is None
    assert built["source"].model is built["model"]


def test_a_network_that_is_needed_and_not_there_is_asked_for_by_name(problems, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Model, Source\n"
        "class Judging(Source):\n    def __init__(self, critic: Model): ...\n"
    )
    assert problems(GOOD + "source: ./mine.py:Judging\n") == [
        "r.yaml:3:9: source.critic: Judging needs a model; add 'roles: {critic: ...}', or give it here"
    ]
    assert problems(GOOD + "roles: {critc: net}\nsource: ./mine.py:Judging\n") == [
        "r.yaml:4:9: source.critic: Judging needs a model; add 'roles: {critic: ...}', or give it here; "
        "did you mean 'critc'?"
    ]


def test_a_parameter_of_another_name_is_not_filled_with_the_first_of_its_kind(problems, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Geometry, Source\n"
        "class On(Source):\n    def __init__(self, space: Geometry): ...\n"
    )
    assert problems(GOOD + "source: ./mine.py:On\n") == [
        "r.yaml:3:9: source.space: On needs a geometry; give it here: 'space: ...'"
    ]


def test_roles_fill_parameters_of_their_names(load):
    built = build(load("data: digits\nmodel: taught\nroles: {critic: {use: net, width: 3}, old: net}\n"))
    model = built["model"]
    assert model.critic is built["roles"]["critic"]
    assert model.critic.settings["width"] == 3
    assert model.teacher is None
    assert list(model.roles) == ["critic", "old"]
    assert model.roles["old"] is built["roles"]["old"]


def test_a_section_wins_over_a_role_only_by_its_own_name(load, problems):
    built = build(load("data: digits\nmodel: taught\nteacher: net\nroles: {critic: net}\n"))
    assert built["model"].teacher is built["teacher"]
    assert built["model"].critic is built["roles"]["critic"]
    assert problems(GOOD + "roles: {teacher: net}\n") == [
        "r.yaml:3:9: roles.teacher: 'teacher' is the name of a section, which is what a parameter of that name "  # noqa: E501
        "gets; choose another name"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "roles: net\n",
            "r.yaml:3:8: roles: expected a mapping of names to model components, got 'net' (str)",
        ),
        (
            "roles: {critic: nett}\n",
            "r.yaml:3:17: roles.critic: no model is named 'nett'; did you mean 'net'?; "
            "known: distilled, made, net, not-a-model, taught; "
            "installed plugins: fakes (others are pip packages, named flowloom-NAME)",
        ),
        ("roles: {3: net}\n", "r.yaml:3:9: roles.3: a name is a word such as 'teacher', got 3"),
    ],
)
def test_bad_roles(problems, text, line):
    assert problems(GOOD + text) == [line]


def test_roles_that_need_each_other_are_not_filled(load):
    built = build(load(GOOD + "roles: {one: taught, critic: net}\n"))
    assert built["roles"]["one"].critic is None


def test_roles_are_written_out_and_read_back(load):
    text = build(load(GOOD + "roles: {critic: {use: net, width: 3}}\n")).resolved()
    assert build(load(text))["roles"]["critic"].settings["width"] == 3


def test_a_list_fills_a_parameter_of_its_name(load):
    built = build(load("data: digits\nmodel: taught\nmetrics: [frechet, {use: frechet, k: 2}]\n"))
    assert [one.k for one in built["model"].metrics] == [5, 2]
    assert all(a is b for a, b in zip(built["model"].metrics, built["metrics"], strict=True))
    assert build(load("data: digits\nmodel: taught\n"))["model"].metrics == []


def test_parts_are_filled_from_the_same_part(load):
    built = build(load(PARTS + "source: {use: mixed, parts: {a: gaussian, b: {use: sized}}}\n"))
    space, source = built["geometry"].parts, built["source"].parts
    assert source["a"].geometry is space["a"]
    assert source["b"].geometry is space["b"]
    assert source["b"].spec == Spec((2,))


def test_parts_of_parts(load, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Dataset, Spec\n"
        "class Deep(Dataset):\n    @property\n    def spec(self):\n"
        "        return Spec(parts={'x': Spec(parts={'y': Spec((7,))})})\n"
    )
    inside = "{x: {use: %s, parts: {y: %s}}}"
    built = build(
        load(
            "data: ./mine.py:Deep\nmodel: net\n"
            f"geometry: {{use: product, parts: {inside % ('product', 'sphere')}}}\n"
            f"source: {{use: mixed, parts: {inside % ('mixed', 'sized')}}}\n"
            f"path: {{use: ways, parts: {inside % ('ways', 'affine')}}}\n"
        )
    )
    sphere = built["geometry"].parts["x"].parts["y"]
    assert built["source"].parts["x"].parts["y"].geometry is sphere
    assert built["source"].parts["x"].parts["y"].spec == Spec((7,))
    assert built["path"].parts["x"].parts["y"].geometry is sphere


def test_what_is_no_product_holds_for_every_part(load):
    text = PARTS + "schedule: cosine\npath: {use: ways, parts: {a: affine, b: {use: affine}}}\n"
    built = build(load(text))
    assert built["path"].parts["a"].schedule is built["schedule"]
    flat = build(
        load("data: parted\nmodel: net\nsource: {use: mixed, parts: {a: gaussian}}\ngeometry: euclidean\n")
    )
    assert flat["source"].parts["a"].geometry is flat["geometry"]


def test_a_part_that_the_other_section_has_not(problems):
    assert problems(PARTS + "source: {use: mixed, parts: {a: gaussian, bb: gaussian}}\n") == [
        "r.yaml:4:47: source.parts.bb.geometry: section 'geometry' has no part 'bb'; did you mean 'b'?; "
        "its parts: a, b"
    ]
    assert problems(PARTS + "source: {use: mixed, parts: {c: {use: sized, geometry: sphere}}}\n") == [
        "r.yaml:4:33: source.parts.c.spec: the states have no part 'c'; its parts: a, b"
    ]


def test_a_local_value_wins_in_a_part(load):
    built = build(
        load(PARTS + "source: {use: mixed, parts: {a: {use: gaussian, geometry: {use: sphere, dim: 9}}}}\n")
    )
    assert built["source"].parts["a"].geometry == Sphere(9)


def test_dict_shaped_states_are_a_product_without_a_word(load):
    built = build(
        load(
            "data: parted\nmodel: net\nsource: {use: mixed, parts: {a: gaussian, b: gaussian}}\npath: affine\nsolver: midpoint\n"  # noqa: E501
        )
    )
    assert built["geometry"].parts == {"a": Euclidean(), "b": Euclidean()}
    assert built["source"].parts["b"].geometry is built["geometry"].parts["b"]
    again = build(load(built.resolved()))
    assert again["geometry"] == built["geometry"]


def test_data_that_need_the_geometry_which_would_follow_from_them(problems, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Dataset, Geometry, Spec\n"
        "class On(Dataset):\n    def __init__(self, geometry: Geometry): self.spec_ = Spec((3,))\n"
        "    @property\n    def spec(self): return self.spec_\n"
    )
    assert problems("data: ./mine.py:On\nmodel: net\n") == [
        "r.yaml:1:7: data.geometry: needs section 'geometry', which is left out and then follows from the spec of "  # noqa: E501
        "the states; add 'geometry:'"
    ]
    assert problems("data: ./mine.py:On\nmodel: net\ngeometry: sphere\nsource: {stdd: 1}\n") == [
        "r.yaml:4:10: source.stdd: Gaussian takes no parameter 'stdd'; did you mean 'std'?; it takes: geometry, std"  # noqa: E501
    ]


def test_functions_are_named_and_follow_trust(fakes, load, tmp_path, monkeypatch, problems):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(x): return x\nN = 3\n")
    head = "data: digits\nmodel: {use: taught, report: "
    for written in ("'evil:f'", "./evil.py:f", "math:sqrt"):
        (tmp_path / "r.yaml").write_text(f"{head}{written}}}\n")
        with pytest.raises(
            ConfigError, match=r"model.report: .* is code that no installed plugin lists; .* --trust"
        ):
            build(load_recipe(tmp_path / "r.yaml", catalog=fakes, trusted=False))
        assert not (tmp_path / "ran").exists()
    built = build(load(head + "./evil.py:f}\n"))
    assert built["model"].report(4) == 4
    assert build(load(built.resolved()))["model"].report is built["model"].report
    for written, words in {
        "sqrt": "expected a function (module:name), got 'sqrt' (str)",
        "'math:square'": "'math' has no attribute 'square'",
        "'math:pi'": "math:pi is 3.14",
        "'no_such_module:f'": "there is no module 'no_such_module'",
    }.items():
        (line,) = problems(f"{head}{written}}}\n")
        assert line.startswith("r.yaml:2:30: model.report: ")
        assert words in line


def test_every_part_knows_where_it_was_written(load, tmp_path):
    built = build(
        load(PARTS + "source: {use: mixed, parts: {a: gaussian, b: gaussian}}\nmetrics: [frechet]\n")
    )

    def line(part):
        return str(built.where(part)).replace(f"{tmp_path}/", "")

    assert line(built["model"]) == "r.yaml:2:8"
    assert line(built["source"].parts["b"]) == "r.yaml:4:46"
    assert line(built["metrics"][0]) == "r.yaml:5:11"
    assert line(built["solver"]) == "r.yaml"
    assert built.where(Euclidean()) is None


def test_errors_of_running_parts_carry_their_place(load, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fakeflow.contracts import Source\nfrom flowloom.errors import ShapeError, TrainingError\n"
        "class Late(Source):\n    def noise(self): raise ShapeError('no shape')\n"
    )
    built = build(load(GOOD + "source: ./mine.py:Late\n"))
    from flowloom.errors import ShapeError, TrainingError

    with pytest.raises(ConfigError) as caught, built.placing():
        built["source"].noise()
    assert str(caught.value) == f"{tmp_path}/r.yaml:3:9: source: Late: no shape"
    assert isinstance(caught.value.__cause__, ShapeError)
    with pytest.raises(TrainingError, match=r"^elsewhere$"), built.placing():
        raise TrainingError("elsewhere")
    with pytest.raises(KeyError), built.placing():
        raise KeyError("a bug")


def test_files_are_relative_to_the_recipe_and_follow_a_project(load, tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "runs" / "x").mkdir(parents=True)
    (project / "nets.py").write_text("from fakeflow.contracts import Geometry\nclass Cube(Geometry): ...\n")
    text = "data: {use: digits, root: files}\nmodel: net\ngeometry: ./nets.py:Cube\n"
    monkeypatch.chdir("/")
    built = build(load(text, name="project/r.yaml"))
    assert built["data"].root == project / "files"
    assert build(load(text, "data.root=there", name="project/r.yaml"))["data"].root.as_posix() == "there"
    resolved = built.resolved(project / "runs" / "x")
    assert "root: ../../files" in resolved
    assert "use: ../../nets.py:Cube" in resolved
    (project / "runs" / "x" / "recipe.yaml").write_text(resolved)
    project.rename(tmp_path / "moved")
    again = build(load(resolved, name="moved/runs/x/recipe.yaml"))
    assert again["data"].root.resolve() == tmp_path / "moved" / "files"
    once_more = again.resolved(tmp_path / "moved" / "runs" / "x")
    assert all(line in once_more for line in ("root: ../../files", "use: ../../nets.py:Cube"))
    outside = built.resolved(tmp_path.parent.parent / "elsewhere" / "a" / "b")
    assert f"root: {project}/files" in outside


def test_a_shipped_recipe_finds_files_of_the_working_folder(tmp_path):
    from flowloom_registry.config.nodes import Position

    (tmp_path / "own.csv").write_text("")
    shipped = Position(str(tmp_path / "r.yaml"), 1, 1, shipped=True)
    assert shipped.locate("own.csv") == tmp_path / "own.csv"
    assert shipped.locate("mine.csv").as_posix() == "mine.csv"
