# ruff: noqa: E501  (expected messages are single lines)
"""One recipe, one mistake, one line: where, what was given, what is accepted."""

import pytest

HEAD = "data: digits\n"
GOOD = HEAD + "model: net\n"
OTHERS = "installed plugins: fakes (others are pip packages, named flowloom-NAME)"


def test_a_good_recipe_builds(load):
    from fakeflow.contracts import Spec
    from fakeflow.parts import Adaptive, Affine, Digits, Euclidean, Gaussian, Net, TrainConfig

    from flowloom_registry import build

    built = build(load("data: {use: digits, size: 4}\nmodel: {use: net, width: 8, rates: [1, 2e-1]}\n"
                       "solver: {use: adaptive, rtol: 1e-4}\ntrain: {steps: 5, betas: [0, 1]}\nseed: 7\n"))  # fmt: skip
    assert built["data"] == Digits(4)
    assert built["model"] == Net(Spec((4, 4)), 8, [1.0, 0.2])
    assert built["solver"] == Adaptive(1e-4)
    assert built["geometry"] == Euclidean()
    assert built["source"] == Gaussian(Euclidean())
    assert built["path"] == Affine(Euclidean(), None)
    assert built["train"] == TrainConfig(steps=5, betas=(0.0, 1.0))
    assert all(type(rate) is float for rate in built["model"].settings["rates"])
    assert built.seed == 7
    assert built.get("codec") is None
    assert "metrics" not in built.parts


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(
            "data: digits\nmodel: nett\n",
            ["r.yaml:2:8: model: no model is named 'nett'; did you mean 'net'?; known: distilled, made, net, not-a-model, taught; " + OTHERS],
            id="unknown component",
        ),
        pytest.param(
            "data: digits\nmodel:\n  use: nett\n",
            ["r.yaml:3:8: model: no model is named 'nett'; did you mean 'net'?; known: distilled, made, net, not-a-model, taught; " + OTHERS],
            id="unknown component in a mapping",
        ),
        pytest.param(
            GOOD + "geometry: {use: sphere, dims: 2}\n",
            ["r.yaml:3:25: geometry.dims: Sphere takes no parameter 'dims'; did you mean 'dim'?; it takes: dim, radius"],
            id="misspelt key",
        ),
        pytest.param(
            GOOD + "solvr: midpoint\n",
            ["r.yaml:3:1: solvr: a recipe has no section 'solvr'; did you mean 'solver'?; sections: name, summary, "
             "paper, extends, stages, versions, seed, data, codec, geometry, source, schedule, path, model, roles, solver, metrics, "
             "train, claim, teacher"],
            id="unknown section",
        ),
        pytest.param(
            GOOD + "train:\n  steps: 1\n  steps: 2\n",
            ["r.yaml:5:3: train.steps: key given twice; first at {dir}r.yaml:4:3; keep one of them"],
            id="duplicate key",
        ),
        pytest.param(
            GOOD + "solver: {use: adaptive, rtol: tight}\n",
            ["r.yaml:3:31: solver.rtol: expected float, got 'tight' (str)"],
            id="wrong type",
        ),
        pytest.param(
            GOOD + "solver: {use: adaptive, rtol: nan}\n",
            ["r.yaml:3:31: solver.rtol: expected float, got 'nan' (str); numbers are finite"],
            id="no number",
        ),
        pytest.param(
            GOOD + "solver: {use: adaptive, rtol: '1e-4'}\n",
            ["r.yaml:3:31: solver.rtol: expected float, got '1e-4' (str); write it as a plain number: 0.0001"],
            id="quoted number",
        ),
        pytest.param(
            GOOD + "train: {steps: 5.0}\n",
            ["r.yaml:3:16: train.steps: expected int, got 5.0 (float); write 5"],
            id="float for int",
        ),
        pytest.param(
            GOOD + "train: {steps: true}\n",
            ["r.yaml:3:16: train.steps: expected int, got true (bool)"],
            id="bool for int",
        ),
        pytest.param(
            GOOD + "train: {rate: true}\n",
            ["r.yaml:3:15: train.rate: expected float, got true (bool)"],
            id="bool for float",
        ),
        pytest.param(
            HEAD + "model: {use: net, attention: yes}\n",
            ["r.yaml:2:30: model.attention: expected bool, got 'yes' (str); booleans are written true and false"],
            id="yes for true",
        ),
        pytest.param(
            GOOD + "solver: {use: adaptive, controller: PID}\n",
            ["r.yaml:3:37: solver.controller: expected 'pid' | 'constant', got 'PID' (str); did you mean 'pid'?"],
            id="wrong literal",
        ),
        pytest.param(
            HEAD + "model: {use: net, norm: batch}\n",
            ["r.yaml:2:25: model.norm: expected 'group' | 'layer' | null, got 'batch' (str)"],
            id="wrong literal in an optional",
        ),
        pytest.param(
            HEAD + "model: {use: net, rates: 3}\n",
            ["r.yaml:2:26: model.rates: expected list of float, got 3 (int)"],
            id="scalar for list",
        ),
        pytest.param(
            HEAD + "model: {use: net, rates: [1, x]}\n",
            ["r.yaml:2:30: model.rates[1]: expected float, got 'x' (str)"],
            id="wrong item",
        ),
        pytest.param(
            HEAD + "model: {use: net, block: [1, 2, 3]}\n",
            ["r.yaml:2:26: model.block: expected [int, int], got a list of 3"],
            id="tuple of another length",
        ),
        pytest.param(
            HEAD + "model: {use: net, extra: {a: 1, b: x}}\n",
            ["r.yaml:2:36: model.extra.b: expected int, got 'x' (str)"],
            id="wrong mapping value",
        ),
        pytest.param(
            HEAD + "model: {use: net, scale: [1]}\n",
            ["r.yaml:2:26: model.scale: expected int | float | str, got a list of 1"],
            id="no member of a union",
        ),
        pytest.param(
            GOOD + "geometry: {use: product, parts: {a: spher, b: {use: sphere, radios: 2}}}\n",
            ["r.yaml:3:37: geometry.parts.a: no geometry is named 'spher'; did you mean 'sphere'?; "
             "known: euclidean, product, sphere; " + OTHERS,
             "r.yaml:3:61: geometry.parts.b.radios: Sphere takes no parameter 'radios'; did you mean 'radius'?; "
             "it takes: dim, radius"],
            id="nested components",
        ),
        pytest.param(
            GOOD + "geometry: product\n",
            ["r.yaml:3:11: geometry.parts: Product needs 'parts' (mapping to a geometry)"],
            id="missing required argument",
        ),
        pytest.param(
            GOOD + "path: geodesic\n",
            ["r.yaml:3:7: path.schedule: Geodesic needs a schedule; add a section 'schedule:', or give it here"],
            id="missing section",
        ),
        pytest.param(
            GOOD + "schedule: cosine\npath: {use: geodesic, on: euclidean}\n",
            ["r.yaml:4:27: path.on: expected a geometry of class Sphere, got 'euclidean'"],
            id="one class of a kind",
        ),
        pytest.param(
            "model: net\n",
            ["r.yaml:1:8: model.spec: Net needs the spec of the data; add a section 'data:'"],
            id="missing section data",
        ),
        pytest.param(
            "data: digits\nmodel: null\n",
            ["r.yaml:2:8: model: a recipe needs a section 'model:' (the network); "
             "'flowloom list model' shows what can stand there"],
            id="missing section model",
        ),
        pytest.param(
            GOOD + "metrics: frechet\n",
            ["r.yaml:3:10: metrics: expected a list of metric components, got 'frechet' (str); write [frechet]"],
            id="no list",
        ),
        pytest.param(
            GOOD + "metrics: [frechet, {use: frechet, k: many}]\n",
            ["r.yaml:3:38: metrics[1].k: expected int, got 'many' (str)"],
            id="in a list of components",
        ),
        pytest.param(
            GOOD + "codec: {rate: 2}\n",
            ["r.yaml:3:8: codec: a codec needs 'use: NAME'; 'flowloom list codec' shows the names"],
            id="no use",
        ),
        pytest.param(
            GOOD + "codec: [halving]\n",
            ["r.yaml:3:8: codec: expected the name of a codec, or a mapping with 'use: NAME', got a list of 1"],
            id="list for component",
        ),
        pytest.param(
            GOOD + "train: fast\n",
            ["r.yaml:3:8: train: expected mapping (steps, rate, batch, betas, clip, notes), got 'fast' (str)"],
            id="scalar for record",
        ),
        pytest.param(
            GOOD + "seed: x\nsummary: 5\nclaim: 1\n",
            ["r.yaml:3:7: seed: expected int, got 'x' (str)",
             "r.yaml:4:10: summary: expected str, got 5 (int); put it in quotes to make it text",
             "r.yaml:5:8: claim: expected a list of claims, got 1 (int)"],
            id="plain sections",
        ),
        pytest.param(
            "data:digits\n",
            ["r.yaml:1:1: expected a mapping of sections, got 'data:digits' (str); write 'key: value' with a space after ':'"],
            id="no space after the colon",
        ),
        pytest.param(
            HEAD + "model: {use: net, width: 0}\n",
            ["r.yaml:2:26: model: Net: width must be positive, got 0"],
            id="refused by the constructor",
        ),
        pytest.param(
            HEAD + "model: {use: not-a-model}\n",
            ["r.yaml:2:14: model: model/not-a-model (plugin fakes): fakeflow.parts:NotAModel lacks __call__, "
             "asked by fakeflow.contracts.Model"],
            id="breaks a protocol",
        ),
        pytest.param(
            GOOD + "solver: not-a-solver\n",
            ["r.yaml:3:9: solver: solver/not-a-solver (plugin fakes): fakeflow.parts:NotASolver is not a subclass of "
             "fakeflow.contracts.Solver"],
            id="breaks a contract",
        ),
        pytest.param(
            GOOD + "solver: needy\n",
            ["r.yaml:3:9: solver: solver/needy (plugin fakes) needs 'a_library_nobody_has', which is not installed; "
             "pip install 'nobody>=2'"],
            id="missing library",
        ),
        pytest.param(
            GOOD + "solver: unloadable\n",
            ["r.yaml:3:9: solver: solver/unloadable (plugin fakes) needs a library that failed: "
             "OSError: libmissing.so: cannot open shared object file"],
            id="library that does not load",
        ),
        pytest.param(
            GOOD + "solver: gone\n",
            ["r.yaml:3:9: solver: solver/gone (plugin fakes): there is no module 'fakeflow.gone'"],
            id="target without module",
        ),
    ],
)  # fmt: skip
def test_problem(problems, tmp_path, text, lines):
    assert problems(text) == [line.replace("{dir}", "") for line in lines]


def test_crashing_target_is_one_line_that_names_its_place(problems):
    (line,) = problems(GOOD + "solver: crashing\n")
    assert line.startswith("r.yaml:3:9: solver: ")
    assert "RuntimeError: no GPU found" in line
    assert "crashing.py:1" in line


def test_all_problems_are_reported_at_once_in_reading_order(problems):
    lines = problems(
        "data: {use: digits, sise: 4}\n"
        "model: {use: net, width: wide, norm: none}\n"
        "geometry: circle\n"
        "train: {steps: ten}\n"
        "train: {}\n",
        "solver.use=midpoint",
        "solver.stepz=3",
        "nothing",
    )
    assert [line.split(": ")[0] for line in lines] == [
        "r.yaml:1:21", "r.yaml:2:26", "r.yaml:2:38", "r.yaml:3:11", "r.yaml:4:16", "r.yaml:5:1",
        "--set nothing", "--set solver.stepz=3",
    ]  # fmt: skip


def test_nothing_is_built_while_there_are_problems(problems, monkeypatch):
    import fakeflow.parts

    built = []
    monkeypatch.setattr(
        fakeflow.parts.Digits, "__post_init__", lambda self: built.append(self), raising=False
    )
    problems(GOOD + "solver: {use: midpoint, stepz: 4}\n")
    assert built == []


def test_union_prefers_the_exact_type(load):
    from flowloom_registry import build

    for text, kind in (("3", int), ("3.0", float), ("auto", str)):
        model = build(load(HEAD + f"model: {{use: net, scale: {text}}}\n"))["model"]
        assert type(model.settings["scale"]) is kind


def test_file_component_relative_to_the_recipe(load, tmp_path, monkeypatch):
    from flowloom_registry import build

    (tmp_path / "geo").mkdir()
    (tmp_path / "geo" / "mine.py").write_text(
        "from fakeflow.contracts import Geometry\n"
        "class Cube(Geometry):\n    def __init__(self, side: int = 1): self.side = side\n"
    )
    monkeypatch.chdir("/")
    built = build(load(GOOD + "geometry: {use: './geo/mine.py:Cube', side: 3}\n"))
    assert built["geometry"].side == 3
    again = build(load(GOOD + "geometry: ./geo/mine.py:Cube\n"))
    assert type(again["geometry"]) is type(built["geometry"])


def test_file_component_problems(problems, tmp_path):
    (tmp_path / "broken.py").write_text("def x(:\n")
    (missing,) = problems(GOOD + "geometry: ./absent.py:Cube\n")
    assert missing.startswith("r.yaml:3:11: geometry: './absent.py:Cube': there is no file")
    (broken,) = problems(GOOD + "geometry: ./broken.py:Cube\n")
    assert broken.startswith("r.yaml:3:11: geometry: broken.py:Cube: importing")
    assert "SyntaxError" in broken


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("class Cube: ...\nclass _Side: ...\n", ", such as ./mine.py:Cube"),
        (
            "class Cube: ...\ndef f(): ...\nclass Ball: ...\n",
            ", such as ./mine.py:Cube; classes in it: Cube, Ball",
        ),
        ("def x(:\n", ", such as ./mine.py:Class"),
    ],
)
@pytest.mark.parametrize("colon", ["", ":"])
def test_file_without_a_class(problems, tmp_path, text, rest, colon):
    (tmp_path / "mine.py").write_text(text)
    assert problems(GOOD + f"geometry: './mine.py{colon}'\n") == [
        f"r.yaml:3:11: geometry: './mine.py{colon}' is a file; name the class after a colon{rest}"
    ]
    (absent,) = problems(GOOD + f"geometry: './absent.py{colon}'\n")
    assert absent.startswith(f"r.yaml:3:11: geometry: './absent.py{colon}': there is no file")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("from beside import Side", "'beside'"),
        ("import folder.inside", "'folder'"),
        ("from .beside import Side", "a module"),
    ],
)
def test_a_file_cannot_import_its_neighbours(problems, tmp_path, statement, named):
    (tmp_path / "beside.py").write_text("Side = int\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.py").write_text(f"{statement}\n")
    (line,) = problems(GOOD + "geometry: ./mine.py:Cube\n")
    assert (
        f"mine.py:Cube imports {named}, which lies beside it: a file named in a recipe cannot import" in line
    )
    assert "pip install" not in line


def test_a_library_that_a_file_lacks_is_still_to_be_installed(problems, tmp_path):
    (tmp_path / "mine.py").write_text("import a_library_nobody_has\n")
    (line,) = problems(GOOD + "geometry: ./mine.py:Cube\n")
    assert line.endswith(
        "needs 'a_library_nobody_has', which is not installed; pip install a_library_nobody_has"
    )


ABSTRACT = """
from abc import abstractmethod
from fakeflow.contracts import Geometry
class Solid(Geometry):
    @abstractmethod
    def volume(self): ...
    @abstractmethod
    def area(self): ...
class Cube(Solid): ...
def cube() -> Geometry: return Cube()
class Odd(Geometry):
    def __init__(self): raise TypeError("a bug")
"""


def test_a_class_that_lacks_methods_is_one_line_that_names_them(problems, load, tmp_path):
    from flowloom_registry import build

    (tmp_path / "mine.py").write_text(ABSTRACT)
    assert problems(GOOD + "geometry: ./mine.py:Cube\n") == [
        "r.yaml:3:11: geometry: Cube lacks area, volume; every subclass has to define what its base class leaves abstract"
    ]
    (line,) = problems(GOOD + "geometry: ./mine.py:cube\n")
    assert line.startswith("r.yaml:3:11: geometry: cube: Can't instantiate abstract class Cube")
    with pytest.raises(TypeError, match="a bug"):
        build(load(GOOD + "geometry: ./mine.py:Odd\n"))


def test_dotted_target(load, problems):
    from flowloom_registry import build

    assert build(load(GOOD + "geometry: {use: 'fakeflow.parts:Sphere', dim: 5}\n"))["geometry"].dim == 5
    (line,) = problems(GOOD + "geometry: fakeflow.parts:Midpoint\n")
    assert "is not a subclass of fakeflow.contracts.Geometry" in line


def test_factory_must_make_what_its_kind_asks(problems, tmp_path):
    (tmp_path / "made.py").write_text("def geometry():\n    return 5\n")
    assert problems(GOOD + "geometry: ./made.py:geometry\n") == [
        "r.yaml:3:11: geometry: geometry made a int, which is no geometry"
    ]


@pytest.mark.parametrize("target", ["./evil.py:Cube", "evil:Cube", "os:system"])
def test_recipe_that_is_not_trusted_runs_no_code_of_its_own(fakes, tmp_path, monkeypatch, target):
    from flowloom_registry import build, load_recipe
    from flowloom_registry.errors import ConfigError

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Cube: ...\n")
    (tmp_path / "r.yaml").write_text(GOOD + f"geometry: {target}\n")
    with pytest.raises(
        ConfigError, match=r"code that no installed plugin lists; .* --trust \(in Python: trust=True"
    ):
        build(load_recipe(tmp_path / "r.yaml", catalog=fakes, trusted=False))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "r.yaml").write_text(GOOD + "geometry: fakes:sphere\n")
    assert build(load_recipe(tmp_path / "r.yaml", catalog=fakes, trusted=False))["geometry"].dim == 2
