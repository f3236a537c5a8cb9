# ruff: noqa: E501  (expected messages are single lines)
"""Discovery that survives broken plugins, and lookup by name."""

import sys
from importlib.metadata import EntryPoint

import pytest
from fakeflow.handmade import plugin

from flowloom.errors import MissingDependencyError
from flowloom_registry import build, discover, load_recipe
from flowloom_registry.errors import AmbiguousComponentError, PluginError, UnknownComponentError
from flowloom_registry.plugins.registrar import Registrar
from flowloom_registry.plugins.rows import Plugin


def spheres(name="sphere", target="fakeflow.parts:Sphere"):
    return plugin(lambda reg: reg.add("geometry", name, target, summary="round"))


def test_rows_know_their_plugin(fakes):
    row = fakes.find("geometry", "sphere")
    assert (row.plugin.name, row.paper, row.tags, row.example) == (
        "fakes",
        "2302.03660",
        ("curved",),
        {"dim": 3},
    )
    assert row.qualified == "fakes:sphere"
    assert fakes.load(row).__name__ == "Sphere"
    assert fakes.load(fakes.find("model", "made")).__name__ == "make_net"


def test_unknown_names_nearest_known_and_other_kinds(fakes):
    with pytest.raises(
        UnknownComponentError, match=r"did you mean 'sphere'\?; known: euclidean, product, sphere"
    ):
        fakes.find("geometry", "Spheer")
    with pytest.raises(UnknownComponentError, match="'net' is a model"):
        fakes.find("geometry", "net")
    with pytest.raises(UnknownComponentError, match=r"no kind .* 'geometri'; did you mean 'geometry'\?"):
        fakes.find("geometri", "sphere")


def test_unknown_name_says_which_plugins_are_installed_and_where_others_are(fakes):
    others = r"installed plugins: fakes \(others are pip packages, named flowloom-NAME\)"
    with pytest.raises(UnknownComponentError, match=rf"no model is named 'unet'; .*; {others}$"):
        fakes.find("model", "unet")
    with pytest.raises(UnknownComponentError, match=rf"no plugin or module is named 'images'; {others}$"):
        fakes.find("model", "images:unet")
    with pytest.raises(UnknownComponentError, match=rf"did you mean 'fakes'\?; {others}$"):
        fakes.find("model", "fake:net")


def test_collision_is_an_error_only_where_the_bare_name_is_used(fake_discover):
    found = fake_discover(other=spheres())
    assert not found.broken
    with pytest.raises(AmbiguousComponentError, match="write one of: fakes:sphere, other:sphere"):
        found.find("geometry", "sphere")
    assert found.find("geometry", "other:sphere").plugin.name == "other"
    assert found.find("geometry", "euclidean").name == "euclidean"
    assert [[row.qualified for row in rows] for rows in found.collisions()] == [
        ["fakes:sphere", "other:sphere"]
    ]


def test_qualified_name_that_the_plugin_lacks(fake_discover):
    with pytest.raises(
        UnknownComponentError, match=r"no geometry of plugin 'fakes' is named 'spere'; did you mean 'sphere'"
    ):
        fake_discover().find("geometry", "fakes:spere")


class Panic(BaseException):
    """What other languages raise through an extension module."""


class Speechless(Exception):  # noqa: N818
    """An error that cannot even say what it is."""

    def __str__(self):
        raise RuntimeError


def raising(error):
    def register(reg):
        raise error

    return plugin(register)


def broken_plugins():
    def half(reg):
        reg.add("geometry", "half", "fakeflow.parts:Sphere", summary="registered before the error")
        raise ValueError("in the middle")

    return {
        "half": (plugin(half), "ValueError: in the middle"),
        "exits": (plugin(lambda reg: exit(3)), "SystemExit: 3"),
        "panics": (raising(Panic("thread 'main' panicked")), "Panic: thread 'main' panicked"),
        "speechless": (raising(Speechless()), "Speechless"),
        "misspelt": (plugin(flowloom_regster=lambda reg: None), "unknown hook 'flowloom_regster'"),
        "greedy": (plugin(lambda reg, more: None), "more"),
        "badkind": (plugin(lambda reg: reg.add("geometri", "x", "a:B", summary="s")), "did you mean 'geometry'?"),
        "badname": (plugin(lambda reg: reg.add("geometry", "No Good", "a:B", summary="s")), "lower-case words"),
        "badtarget": (plugin(lambda reg: reg.add("geometry", "x", "a.B", summary="s")), "module:attribute"),
        "badsummary": (plugin(lambda reg: reg.add("geometry", "x", "a:B", summary="two\nlines")), "one line"),
        "badpaper": (plugin(lambda reg: reg.add("geometry", "x", "a:B", summary="s", paper="Lipman 2022")), "arXiv"),
        "badrecipe": (plugin(lambda reg: reg.recipe("x", "a:b.txt", summary="s")), "package:path.yaml"),
        "badtags": (plugin(lambda reg: reg.add("geometry", "x", "a:B", summary="s", tags="word")), "lists of words"),
        "badexample": (plugin(lambda reg: reg.add("geometry", "x", "a:B", summary="s", example=[1])), "maps constructor"),
        "twice": (plugin(lambda reg: [reg.add("geometry", "x", "a:B", summary="s") for _ in "ab"]), "added twice"),
        "oldkind": (plugin(lambda reg: reg.kind("geometry", contract="a:B", meaning="m")), "exists already"),
        "oldsection": (plugin(lambda reg: reg.section("data", "dataset", meaning="m")), "exists already"),
    }  # fmt: skip


@pytest.mark.parametrize("name", broken_plugins())
def test_broken_plugin_is_set_aside_whole(fake_discover, name):
    broken, words = broken_plugins()[name]
    found = fake_discover(strict=False, **{name: broken, "good": spheres("other-sphere")})
    (aside,) = found.broken
    assert aside.plugin.name == name
    assert words in aside.error
    assert "\n" not in aside.error
    assert "Traceback" in aside.trace
    assert not [row for row in found.rows if row.plugin.name == name]
    assert name not in [one.name for one in found.plugins]
    assert found.find("geometry", "other-sphere")
    assert found.find("geometry", "sphere")
    with pytest.raises(UnknownComponentError, match=f"plugin '{name}' is broken and was not searched"):
        found.find("geometry", "nothing-like-it")
    with pytest.raises(UnknownComponentError, match=f"plugin '{name}' is broken"):
        found.find("geometry", f"{name}:x")
    found.hooks.flowloom_finished(run=None)
    with pytest.raises(PluginError, match=f"plugin '{name}' is broken: "):
        fake_discover(strict=True, **{name: broken})


@pytest.mark.parametrize(
    ("module", "words"),
    [("needy", "ModuleNotFoundError"), ("crashing", "RuntimeError: no GPU found"), ("unloadable", "OSError"),
     ("not_there", "ModuleNotFoundError")],
)  # fmt: skip
def test_plugin_module_that_fails_on_import(fake_tables, module, words):
    points = [
        EntryPoint("bad", f"fakeflow.{module}", "flowloom"),
        EntryPoint("fakes", "fakeflow.plugin", "flowloom"),
    ]
    found = discover(entry_points=points, strict=False, **fake_tables)
    assert words in found.broken[0].error
    assert found.find("geometry", "sphere")


@pytest.mark.parametrize("error", [SystemExit(0), Panic("x"), Speechless()])
def test_hooks_that_raise_anything_stop_nobody(fake_discover, error):
    def stop(run):
        raise error

    found = fake_discover(strict=False, stop=plugin(flowloom_finished=stop))
    assert found.call_each("flowloom_finished", run=None) == [("stop", error)]


@pytest.mark.parametrize(
    "content", ["raise RuntimeError('x')", "def (", "B = [1]", "B = 'x'", "import sys; sys.exit(0)"]
)
def test_a_kind_without_a_contract_harms_nobody_elses_recipe(fake_discover, tmp_path, monkeypatch, content):
    (tmp_path / "badcontract.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "badcontract", raising=False)
    fancy = plugin(lambda reg: reg.kind("fancy", contract="badcontract:B", meaning="m"))
    (tmp_path / "r.yaml").write_text("data: {use: digits, size: 4}\nmodel: {use: net, width: 8}\n")
    found = fake_discover(strict=False, fancy=fancy)
    with pytest.raises(PluginError):
        found.contract("fancy")
    assert build(load_recipe(tmp_path / "r.yaml", catalog=found))["model"]


def test_interrupt_is_not_swallowed(fake_discover):
    def stop(reg):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake_discover(strict=False, stop=plugin(stop))


def test_two_plugins_of_one_name(fake_tables):
    points = [
        EntryPoint("fakes", "fakeflow.plugin", "flowloom"),
        EntryPoint("fakes", "fakeflow.parts", "flowloom"),
    ]
    found = discover(entry_points=points, strict=False, **fake_tables)
    assert "already named 'fakes'" in found.broken[0].error
    assert found.find("geometry", "sphere")


POINTS = [EntryPoint("zeta", "fakeflow.contracts", "flowloom"), EntryPoint("alpha", "fakeflow.parts", "flowloom"),
          EntryPoint("core", "fakeflow.plugin", "flowloom")]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "names"),
    [(None, ["core", "alpha", "zeta"]), ("", ["core"]), ("zeta", ["core", "zeta"]), (" zeta , alpha", ["core", "alpha", "zeta"])],
)  # fmt: skip
def test_order_and_allow_list(fake_tables, monkeypatch, setting, names):
    monkeypatch.delenv("FLOWLOOM_PLUGINS", raising=False)
    if setting is not None:
        monkeypatch.setenv("FLOWLOOM_PLUGINS", setting)
    found = discover(entry_points=POINTS, **fake_tables)
    assert [one.name for one in found.plugins] == names


def test_allowed_plugin_that_is_not_installed(fake_tables):
    found = discover(entry_points=POINTS, allow=["alfa"], strict=False, **fake_tables)
    (missing,) = found.broken
    assert missing.plugin.name == "alfa"
    assert "not installed; did you mean 'alpha'?; installed: core, alpha, zeta" in missing.error


def test_call_each_goes_on_after_an_error(fake_discover):
    def fails():
        raise RuntimeError("ill")

    found = fake_discover(a=plugin(flowloom_doctor=fails), b=plugin(flowloom_doctor=lambda: ["fine"]))
    results = dict(found.call_each("flowloom_doctor"))
    assert isinstance(results["a"], RuntimeError)
    assert results["b"] == ["fine"]


def test_strict_from_the_environment(fake_tables, monkeypatch):
    points = [EntryPoint("bad", "fakeflow.crashing", "flowloom")]
    monkeypatch.setenv("FLOWLOOM_STRICT_PLUGINS", "0")
    assert discover(entry_points=points, **fake_tables).broken
    monkeypatch.setenv("FLOWLOOM_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="plugin 'bad' is broken: RuntimeError: no GPU found"):
        discover(entry_points=points, **fake_tables)


def test_a_plugins_own_kind_and_sections(fake_discover, tmp_path):
    from flowloom_registry import build, load_recipe

    def uses(reg):
        reg.add(
            "vocoder", "second", "fakeflow.parts:Euclidean", summary="registered before its kind is known"
        )

    def brings(reg):
        reg.kind("vocoder", contract="fakeflow.contracts:Geometry", meaning="sound", laws="fakeflow.laws")
        reg.add("vocoder", "first", "fakeflow.parts:Sphere", summary="s")
        reg.section("vocoders", "vocoder", meaning="several", many=True)
        reg.section("vocoder", "vocoder", meaning="one", default="first")
        reg.section("loudness", target="fakeflow.parts:TrainConfig", meaning="a record")
        reg.section("remark", form="text", meaning="words")

    found = fake_discover(a_user=plugin(uses), bringer=plugin(brings))
    assert [row.name for row in found.of_kind("vocoder")] == ["first", "second"]
    assert found.kind("vocoder").laws == "fakeflow.laws"
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "data: digits\nmodel: net\nvocoders: [first, second]\nloudness: {steps: 7}\nremark: loud\n"
    )
    built = build(load_recipe(recipe, catalog=found))
    assert len(built["vocoders"]) == 2
    assert type(built["vocoder"]).__name__ == "Sphere"
    assert built["loudness"].steps == 7
    assert built.plan.sections["remark"] == "loud"


def test_a_section_that_a_plugin_requires(fake_discover, tmp_path):
    from flowloom_registry import build, load_recipe
    from flowloom_registry.errors import ConfigError

    def brings(reg):
        reg.section("space", "geometry", meaning="where", required=True)

    found = fake_discover(bringer=plugin(brings))
    (tmp_path / "r.yaml").write_text("data: digits\nmodel: net\n")
    with pytest.raises(ConfigError, match="a recipe needs a section 'space:'"):
        build(load_recipe(tmp_path / "r.yaml", catalog=found))


def test_missing_library_says_what_to_install(fakes):
    with pytest.raises(
        MissingDependencyError, match=r"needs 'a_library_nobody_has', .*; pip install 'nobody>=2'$"
    ):
        fakes.load(fakes.find("solver", "needy"))
    with pytest.raises(MissingDependencyError, match=r"; pip install a_library_nobody_has$"):
        fakes.load(fakes.find("solver", "needy-plain"))


def test_every_kind_is_added_alike():
    from flowloom.kinds import KINDS

    registrar = Registrar(Plugin("p"))
    for kind in KINDS:
        registrar.add(
            kind.name, "x", "a:B", summary="s", example={"n": 1}, paper="2210.02747", requires=["r"], data="d"
        )
    assert [(row.kind, row.requires, row.data) for row in registrar.rows] == [
        (kind.name, ("r",), "d") for kind in KINDS
    ]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "give one of kind="),
        ({"kind": "model", "target": "a:B"}, "give one of kind="),
        ({"target": "a.B"}, "'module:Class'"),
        ({"target": "a:B", "default": "x"}, "only a section that holds one component has a default"),
        ({"kind": "model", "many": True, "required": True}, "only a section that holds one component"),
        ({"form": "text", "many": True}, "a list holds components"),
    ],
)
def test_sections_that_contradict_themselves(section, words):
    with pytest.raises(PluginError, match=words):
        Registrar(Plugin("p")).section("extra", meaning="m", **section)
    assert not Registrar(Plugin("p")).sections


def test_catalog_is_found_once():
    from flowloom_registry import catalog

    assert catalog() is catalog()


def test_facade_survives_its_submodules():
    import flowloom_registry
    import flowloom_registry.config.build
    import flowloom_registry.plugins.discovery

    for name in flowloom_registry.__all__:
        assert not hasattr(getattr(flowloom_registry, name), "__path__"), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = flowloom_registry.nothing
