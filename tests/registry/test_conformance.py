# ruff: noqa: E501  (expected messages are single lines)
"""`flowloom check`: what is checked, on which data, and that nothing passes unchecked."""

from __future__ import annotations

import pytest
from fakeflow.handmade import plugin

from flowloom_registry.cli import main
from flowloom_registry.conformance import check_recipe, check_row, is_checked
from flowloom_registry.errors import UnknownComponentError

SPACES = """
from flowloom.geometry import FlatTorus

class Torus3(FlatTorus):
    pass
"""

PARTS = """
import torch
from torch import nn
from flowloom.codecs import Codec
from flowloom.data import Tensors
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.metrics import Metric
from flowloom.models import Model
from flowloom.objectives import FlowMatching
from flowloom.paths import AffinePath, Path
from flowloom.scores import Score
from flowloom.sources import Uniform
from flowloom.spec import Spec

class Points(Tensors):
    def __init__(self, n: int = 32, width: int = 5) -> None:
        draws = torch.Generator().manual_seed(0)
        super().__init__(torch.randn(n, width, generator=draws), {"label": torch.arange(n) % 7})

class Arrows(Points):
    pass

class Wide(Metric):
    '''Refuses what is not five wide.'''
    better = {"gap": "lower"}
    def __call__(self, samples, real):
        if real.x.shape[1] != 5:
            raise IncompatibleError("five wide, please")
        self.require_rows(samples, real)
        return {"gap": float((samples.x.mean(0) - real.x.mean(0)).norm() + (samples.x.std(0) - real.x.std(0)).norm())}

class Critic(FlowMatching):
    '''An objective with a network of its own, sized by the data.'''
    def __init__(self, path: Path, spec: Spec) -> None:
        super().__init__(path)
        self.critic = nn.Linear(spec.numel(), 1).requires_grad_(False)
    def loss(self, model, batch, *args, **kwargs):
        self.critic(batch.x1)
        return super().loss(model, batch, *args, **kwargs)

class Twin(FlowMatching):
    '''An objective that holds a copy of the network.'''
    def __init__(self, model: Model, path: Path) -> None:
        super().__init__(path)
        assert model is not None

class Mine(Uniform):
    pass

class Spread(Score):
    '''Of five-wide points with labels only.'''
    better = {"spread": "lower"}
    def require(self, flow):
        if flow.spec is None or flow.spec.shape != (5,):
            raise IncompatibleError("five wide, please")
    def __call__(self, flow, examples, *, seed=0):
        from flowloom.errors import ShapeError
        if len(examples) == 0:
            raise ShapeError("nothing to score")
        return {"spread": float(examples.x.std())}

class Refusing(AffinePath):
    def sample(self, *args, **kwargs):
        raise IncompatibleError("no")
"""

LAWS = """
from flowloom.testing import law

@law("a vocoder is loud")
def check_loud(make, context):
    context.holds("a vocoder is loud", make().loud)

@law("a vocoder is of this world")
def check_real(make, context):
    pass
"""
VOCODERS = """
class Vocoder:
    loud = False
class Loud(Vocoder):
    loud = True
class Quiet(Vocoder):
    pass
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, text in {"spaces": SPACES, "parts": PARTS, "vocal_laws": LAWS, "vocal": VOCODERS}.items():
        (tmp_path / f"of_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(flowloom_catalog, here, monkeypatch, capsys):
    """Run a command over core and plugins: cli("check", "mine", mine=plugin) -> (code, out, err)."""
    from flowloom_registry.plugins import discovery

    def make(*words, **plugins):
        found = flowloom_catalog(**plugins)
        monkeypatch.setattr(discovery, "catalog", lambda: found)
        code = main(list(words))
        return (code, *capsys.readouterr())

    return make


def verdicts(results):
    return {result.name: result.status for result in results}


def with_rows(*, more=()):
    def register(reg):
        reg.add("dataset", "points", "of_parts:Points", summary="five wide")
        for name in more:
            reg.add("dataset", name, "of_parts:Arrows", summary="another")
        reg.add("metric", "wide", "of_parts:Wide", summary="five wide", data="points")
        reg.add("metric", "lost", "of_parts:Wide", summary="says of no data")
        reg.add("metric", "gone", "of_parts:Wide", summary="names what is not there", data="pionts")

    return plugin(register)


def test_a_row_is_checked_on_the_data_that_it_names(flowloom_catalog, here):
    found = flowloom_catalog(mine=with_rows())
    results = check_row(found.find("metric", "wide"), found)
    # One law is of ragged data only, and this data is of one size.
    assert set(verdicts(results).values()) == {"passed", "skipped"}
    lost = check_row(found.find("metric", "lost"), found)
    assert verdicts(lost)["check_is_not_vacuous"] == "failed"
    with pytest.raises(
        UnknownComponentError, match="no dataset of plugin 'mine' is named 'pionts'; did you mean 'points'"
    ):
        check_row(found.find("metric", "gone"), found)


def test_other_rows_of_a_plugin_change_no_verdict(flowloom_catalog, here):
    def of(more):
        found = flowloom_catalog(mine=with_rows(more=more))
        return [check_row(found.find("metric", name), found) for name in ("wide", "lost")]

    assert of(()) == of(("arrows", "zebras"))


def test_a_component_that_refuses_every_law_fails(cli):
    code, out, _ = cli("check", "./of_parts.py:Refusing")
    assert code == 1
    assert "check_is_not_vacuous: no law of its kind could be checked" in out


def test_laws_that_were_skipped_are_named_with_the_reason(cli):
    code, out, _ = cli("check", "guidance/classifier-free")
    assert code == 0
    told = [line for line in out.splitlines() if line.startswith("  skipped")]
    count = int(out.partition(" skipped")[0].rpartition(" ")[2])
    assert sum(line.partition(": ")[0].count("check_") for line in told) == count > 0
    assert all(line.partition(": ")[2] for line in told)
    assert cli("check", "guidance/classifier-free", "--verbose")[1].count("skipped  check_") == count


VOCAL = {
    "bringer": plugin(lambda reg: reg.kind("vocoder", contract="of_vocal:Vocoder", meaning="m", laws="of_vocal_laws")),
    "user": plugin(
        lambda reg: [
            reg.add("vocoder", "loud", "of_vocal:Loud", summary="s"),
            reg.add("vocoder", "quiet", "of_vocal:Quiet", summary="s"),
        ]
    ),
}  # fmt: skip


def test_laws_of_a_plugins_kind_are_run(cli, flowloom_catalog, here):
    code, out, _ = cli("check", "user", **VOCAL)
    assert code == 1
    assert "vocoder/loud: 4 passed\n" in out
    assert "failed   check_loud: a vocoder is loud (seed 0)" in out
    (here / "soft.py").write_text("from of_vocal import Vocoder\nclass Soft(Vocoder):\n    pass\n")
    code, out, _ = cli("check", "./soft.py:Soft", **VOCAL)
    assert code == 1
    assert "failed   check_loud" in out
    found = flowloom_catalog(**VOCAL)
    assert verdicts(check_row(found.find("vocoder", "quiet"), found))["check_loud"] == "failed"


def test_laws_of_a_plugins_kind_are_parametrized(flowloom_catalog, here):
    from of_vocal import Loud, Quiet

    from flowloom.testing import check, parametrize_with_checks

    kind = flowloom_catalog(**VOCAL).kind("vocoder")
    mark = parametrize_with_checks({"loud": Loud, "quiet": Quiet()}, kind=kind).mark
    items = {item.id: item.values[0] for item in mark.args[1]}
    assert list(items)[:3] == ["loud-check_loud", "loud-check_real", "loud-check_is_not_vacuous"]
    items["loud-check_loud"]()
    with pytest.raises(pytest.fail.Exception, match="a vocoder is loud"):
        items["quiet-check_loud"]()
    assert verdicts(check(Loud(), kind))["check_loud"] == "passed"


def test_a_kind_without_laws_is_built(flowloom_catalog, here):
    found = flowloom_catalog(
        bringer=plugin(lambda reg: reg.kind("vocoder", contract="of_vocal:Vocoder", meaning="m")),
        user=VOCAL["user"],
    )
    assert verdicts(check_row(found.find("vocoder", "quiet"), found)) == {"check_builds": "passed"}


def test_settings_may_name_files_of_the_working_folder(cli):
    code, out, err = cli("check", "source/uniform", "--set", "geometry=./of_spaces.py:Torus3")
    assert (code, err) == (0, "")
    assert out.startswith("source/uniform: ")
    code, out, err = cli("check", "./of_parts.py:Mine", "--set", "geometry=./of_spaces.py:Torus3")
    assert (code, err) == (0, "")
    assert out.startswith("./of_parts.py:Mine: ")
    code, _, err = cli("check", "source/uniform", "--set", "geometry=./gone.py:Torus3")
    assert code == 2
    assert err.startswith("source/uniform: geometry: './gone.py:Torus3': there is no file ")


FIVE = "{use: ./of_parts.py:Points, n: 48}"


@pytest.mark.parametrize("name", ["Critic", "Twin", "Wide", "Spread"])
def test_components_are_checked_on_data_that_they_fit(cli, here, name):
    code, out, err = cli("check", f"./of_parts.py:{name}", "--data", FIVE, "--verbose")
    assert (code, err) == (0, ""), out
    assert "passed   check_is_not_vacuous" in out


def test_what_data_can_be(cli, here):
    (here / "data.yaml").write_text(f"data: {FIVE}\n")
    (here / "other.yaml").write_text("model: mlp\n")
    for word in ("data.yaml", "./of_parts.py:Points"):
        assert cli("check", "./of_parts.py:Wide", "--data", word)[0] == 0, word
    assert cli("check", "model/mlp", "--data", "moons")[0] == 0
    for word, line in {
        "moon": "no dataset is named 'moon'",
        "other.yaml": "--data other.yaml: the file has no section 'data'",
        "[1]": "--data [1]: expected the name of a data set",
        "{use: moons, m: 3}": "--data {use: moons, m: 3}: m: Moons takes no parameter 'm'",
    }.items():
        code, _, err = cli("check", "model/mlp", "--data", word)
        assert code == 2
        assert line in err, err


RECIPE = f"""
data: {FIVE}
model: {{use: mlp, width: 16, depth: 1}}
objective: ./of_parts.py:Critic
solver: {{use: euler, steps: 4}}
metrics: [energy-distance, ./of_parts.py:Wide]
scores: [./of_parts.py:Spread]
validate: {{score: ./of_parts.py:Spread}}
"""


def test_a_recipe_is_checked_part_by_part_on_its_own_data(cli, here):
    (here / "r.yaml").write_text(RECIPE)
    code, out, err = cli("check", "r.yaml")
    assert (code, err) == (0, ""), out
    told = [line.partition(" ")[0] for line in out.splitlines() if line[0] != " "]
    assert told == [
        "data:", "feed:", "geometry:", "source:", "coupling:", "path:", "model:", "objective:", "solver:",
        "metrics[0]:", "metrics[1]:", "scores[0]:", "validate.score:",
    ]  # fmt: skip
    assert "objective: objective/Critic: " in out


def test_a_part_of_a_recipe_that_breaks_a_law_is_named(cli, here):
    (here / "r.yaml").write_text(
        RECIPE.replace("objective: ./of_parts.py:Critic", "path: ./of_parts.py:Refusing")
    )
    code, out, _ = cli("check", "r.yaml", "--set", "metrics=null")
    assert code == 1
    assert "metrics[0]" not in out
    path = out[out.index("path: path/Refusing: ") :]
    assert "failed   check_is_not_vacuous" in path


def test_recipes_by_name(cli, here):
    mine = plugin(lambda reg: reg.recipe("five", "of_recipe:five.yaml", summary="s"))
    package = here / "of_recipe"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "five.yaml").write_text(RECIPE.replace("./of_parts.py", "of_parts"))
    for name in ("five", "recipe/five", "recipe/mine:five"):
        code, out, err = cli("check", name, "--set", "metrics=null", mine=mine)
        assert (code, err) == (0, ""), out
    assert cli("check", "recipe/fife", mine=mine)[2].startswith("no recipe is named 'fife'")
    assert cli("check", "r.yaml")[0] == 2
    assert "--data is for single components" in cli("check", "five", "--data", "moons", mine=mine)[2]


def test_rows_may_be_checked_within_a_recipe(flowloom_catalog, here):
    package = here / "of_within"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "five.yaml").write_text(RECIPE.replace("./of_parts.py", "of_parts"))

    def register(reg):
        reg.recipe("five", "of_within:five.yaml", summary="s")
        reg.add("score", "spread", "of_parts:Spread", summary="s", within="five")
        reg.add("solver", "mine", "flowloom.solvers:Euler", summary="s", within="five", example={"steps": 3})

    found = flowloom_catalog(mine=plugin(register))
    results = verdicts(check_row(found.find("score", "mine:spread"), found))
    assert results["check_values"] == "passed"
    results = verdicts(check_row(found.find("solver", "mine:mine"), found))
    assert results["check_walks_its_flow"] == "passed"


def test_what_cannot_be_built_here_is_not_checked(cli, flowloom_catalog, here):
    def register(reg):
        reg.add("dataset", "absent", "of_absent:Absent", summary="s", tags=("files",))
        reg.add("schedule", "needy", "of_needy:S", summary="s")

    (here / "of_absent.py").write_text(
        "from flowloom.data import EightGaussians\nfrom flowloom.errors import DataError\n"
        "class Absent(EightGaussians):\n    def __init__(self):\n        raise DataError('there is no file')\n"
    )
    (here / "of_needy.py").write_text("import a_library_nobody_has\n")
    mine = plugin(register)
    code, out, _ = cli("check", "mine", mine=mine)
    assert code == 0
    first, second = out.splitlines()
    assert first == "dataset/absent: not checked: example of dataset/mine:absent: Absent: there is no file"
    assert second.startswith("schedule/needy: not checked: ")
    found = flowloom_catalog(mine=mine)
    assert not is_checked(check_row(found.find("dataset", "absent"), found))


def test_check_recipe_tells_problems_before_anything(here):
    from flowloom_registry import load_recipe
    from flowloom_registry.errors import ConfigError

    (here / "r.yaml").write_text("data: moons\nmodel: {use: mlp, widht: 3}\n")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        list(check_recipe(load_recipe(here / "r.yaml")))
