# ruff: noqa: E501  (expected messages are single lines)
"""The command line: what it prints, its exit codes, and what it keeps from importing."""

import subprocess
import sys
import textwrap
import warnings

import pytest
from fakeflow.handmade import plugin

from flowloom_registry.cli import main
from flowloom_registry.cli.commands import COMMANDS
from flowloom_registry.cli.main import _notes_in_a_line


@pytest.fixture
def cli(fake_discover, monkeypatch, capsys):
    """Run a command over the fakes: cli("list", "geometry") -> (code, out, err)."""
    from flowloom_registry.plugins import discovery

    def make(*words, strict=False, **plugins):
        found = fake_discover(strict=strict, **plugins)
        monkeypatch.setattr(discovery, "catalog", lambda: found)
        code = main(list(words))
        return (code, *capsys.readouterr())

    return make


def bad(reg):
    raise RuntimeError("no luck")


def test_list(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    assert "  sphere     fakes  round\n" in out
    assert "recipe  (a whole run, ready to start)\n  digits-net  fakes  a recipe\n" in out


def test_list_one_kind_also_in_the_plural(cli):
    code, out, _ = cli("list", "geometry")
    assert code == 0
    assert out.splitlines() == [
        "geometry  (fake geometry)", "  euclidean  fakes  flat", "  product    fakes  parts", "  sphere     fakes  round",
    ]  # fmt: skip
    assert cli("list", "recipes")[1].splitlines()[1] == "  digits-net  fakes  a recipe"
    assert cli("list", "solvers")[1].startswith("solver  (")


def test_list_one_plugin_and_ambiguous_names(cli):
    other = plugin(lambda reg: reg.add("geometry", "sphere", "fakeflow.parts:Sphere", summary="another"))
    code, out, _ = cli("list", "--plugin", "other", other=other)
    assert (code, out) == (0, "geometry  (fake geometry)\n  other:sphere  other  another\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["list", "geometrie"],
            "no kind of component is named 'geometrie'; did you mean 'geometry'?; kinds: ",
        ),
        (["list", "--plugin", "fake"], "no plugin is named 'fake'; did you mean 'fakes'?; plugins: fakes"),
        (["show", "spere"], "nothing is named 'spere'; did you mean 'sphere'?; "),
        (["show", "geometry/net"], "nothing is named 'geometry/net'; did you mean 'net'?; "),
        (["show", "train.stps"], "nothing is named 'train.stps'; did you mean 'train.steps'?; "),
        (["show", "Lay0ut"], "nothing is named 'Lay0ut'; did you mean 'Layout'?; "),
        (
            ["show", "Layout.zerro"],
            "'Layout.zerro': flowloom.layout:Layout has no 'zerro'; did you mean 'zero'?; it has: ",
        ),
        (["new", "plugin", "Bad Name"], "'Bad Name' is no name for a plugin"),
        (["new", "plugin", "flowloom-x"], "leave out 'flowloom' from 'flowloom-x'; "),
        (["new", "plugin", "fakes"], "a plugin named 'fakes' is installed already"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(cli, words, line):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["lst"], ["list", "--plugn"], ["show", "a", "b"], ["new", "module", "x"]])
def test_bad_usage_exits_2(cli, words):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "--help' shows what it takes" in err
    assert err.count("\n") == 1


def test_help_and_version(cli):
    code, out, _ = cli()
    assert code == 0
    assert all(command.name in out and command.summary in out for command in COMMANDS)
    assert cli("--version")[1].strip()
    assert cli("list", "--help")[0] == 0


def test_broken_plugin_is_one_line_on_stderr_and_does_not_stop_the_list(cli):
    code, out, err = cli("list", "geometry", broken=plugin(bad))
    assert code == 0
    assert "sphere" in out
    assert err == ("plugin 'broken' is broken and left out: RuntimeError: no luck; "
                   "'flowloom plugins --verbose' shows where\n")  # fmt: skip


def test_plugins(cli):
    code, out, _ = cli("plugins", broken=plugin(bad))
    assert code == 0
    header, row, broken = out.splitlines()
    assert header.split() == ["plugin", "distribution", "version", "components", "recipes"]
    assert row.split() == ["fakes", "28", "1"]
    assert broken == "broken: broken: RuntimeError: no luck"


def test_plugins_verbose_shows_traces_and_doctors(cli):
    ill = plugin(flowloom_doctor=lambda: ["no sound card"])
    _, out, _ = cli("plugins", "--verbose", broken=plugin(bad), ill=ill)
    assert "Traceback (most recent call last)" in out
    assert "in bad" in out
    assert out.endswith("doctor: ill: no sound card\n")


def test_show_component(cli):
    code, out, _ = cli("show", "sphere")
    assert (code, out.splitlines()) == (0, [
        "geometry/sphere: round",
        "  plugin  fakes",
        "  target  fakeflow.parts:Sphere",
        "  paper   arXiv:2302.03660",
        "  tags    curved",
        "  recipe  geometry: sphere",
        "  The unit sphere.",
        "  parameters:",
        "    dim     int    = 2",
        "    radius  float  = 1.0",
    ])  # fmt: skip


def test_show_says_where_parameters_come_from(cli):
    assert [line.split() for line in cli("show", "gaussian")[1].splitlines()[-2:]] == [
        ["geometry", "a", "geometry", "from", "section", "'geometry'"], ["std", "float", "=", "1.0"],
    ]  # fmt: skip
    out = cli("show", "net")[1]
    assert "from the data" in out
    assert [line.split() for line in out.splitlines() if " norm " in line] == [
        ["norm", "'group'", "|", "'layer'", "|", "null", "=", "'group'"]
    ]
    lines = out.splitlines()
    below = next(i for i, line in enumerate(lines) if line.startswith("    width ")) + 1
    assert lines[below].split()[-1] == "channels."
    assert "from section 'schedule', else null" in cli("show", "affine")[1]


def test_show_recipe(cli):
    code, out, _ = cli("show", "digits-net")
    assert code == 0
    assert "# recipe/digits-net: a recipe" in out
    assert "solver: {use: adaptive, rtol: 1e-4}" in out


def test_show_what_cannot_be_imported(cli):
    code, _, err = cli("show", "needy")
    assert code == 2
    assert "pip install 'nobody>=2'" in err


def test_errors_that_are_not_the_users_keep_their_trace(cli):
    def add(subparsers):
        subparsers.add_parser("boom").set_defaults(run=lambda args: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        cli("boom", b=plugin(flowloom_commands=add))


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [(KeyboardInterrupt(), 130, "interrupted\n"), (PermissionError(13, "Permission denied", "/x/y"), 2, "Permission denied: /x/y\n"),
     (OSError(28, "No space left on device"), 2, "No space left on device\n"), (SystemExit(3), 2, "stopped half-way: something called sys.exit(3)\n")],
)  # fmt: skip
def test_exit_codes(cli, error, code, text):
    def fail(args):
        raise error

    def add(subparsers):
        subparsers.add_parser("fails").set_defaults(run=fail)

    got, _, err = cli("fails", b=plugin(flowloom_commands=add))
    assert (got, err) == (code, text)


def test_config_error_is_printed_one_line_each(cli, tmp_path):
    def add(subparsers):
        from flowloom_registry import build, load_recipe
        from flowloom_registry.plugins import discovery

        parser = subparsers.add_parser("try")
        parser.set_defaults(
            run=lambda args: build(load_recipe(tmp_path / "r.yaml", catalog=discovery.catalog()))
        )

    (tmp_path / "r.yaml").write_text("data: digit\nmodel: nett\nseed: x\n")
    code, out, err = cli("try", b=plugin(flowloom_commands=add))
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err.splitlines()] == ["data", "model", "seed"]


def test_check_lays_settings_over_the_example(capsys, monkeypatch):
    from flowloom_registry import conformance

    made = []
    from flowloom.testing import CheckResult

    verdict = CheckResult("check_builds", "passed")
    monkeypatch.setattr(conformance, "check_made", lambda make, *_, **__: made.append(make()) or [verdict])
    assert main(["check", "sphere", "--set", "dim=5"]) == 0
    assert main(["check", "torus"]) == 0
    assert main(["check", "box", "--set", "high=7", "--set", "low=3.0"]) == 0
    assert made[0].dim == 5
    assert (made[2].low, made[2].high) == ([3.0], [7.0])


@pytest.mark.parametrize(
    ("word", "value"),
    [("hole=?", "?"), ("hole=-", "-"), ("hole=*", "*"), ("hole=%", "%"), ("a=b: c", "b: c"), ("a=- 1", "- 1"), ("a=8", 8),
     ("a=1e-3", 1e-3), ("a=[1, x]", [1, "x"]), ("a={b: 1}", {"b": 1}), ("a=", None), ("a=x=y", "x=y"), ("a=true", True)],
)  # fmt: skip
def test_settings_are_one_line_of_yaml(word, value):
    from flowloom_registry.cli.given import settings

    assert list(settings([word]).values()) == [value]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["x={a: 1, a: 2}"], "--set x={a: 1, a: 2}:1:8: a: key given twice; first at --set x={a: 1, a: 2}:1:2; keep one of them"),
        (["x=1", "x=2"], "--set x=2: x is given twice, first as '1'; keep one"),
        (["x"], "--set x: expected NAME=VALUE"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_read(words, line):
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import settings

    with pytest.raises(FlowloomError) as caught:
        settings(words)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sphere", "--set", "nonsense=4"], "geometry/sphere: nonsense: Sphere takes no parameter 'nonsense'; it takes: dim"),
        (["sphere", "--set", "dimm=4"], "geometry/sphere: dimm: Sphere takes no parameter 'dimm'; did you mean 'dim'?; it takes: dim"),
        (["sphere", "--set", "dim=x"], "geometry/sphere: dim: expected int, got 'x' (str)"),
        (["product", "--set", "parts={}"], "--set is for one component, and product means "),
        (["core", "--set", "dim=2"], "--set is for one component, and core means "),
        (["sphere", "--seed", "99999999999999999999"], "--seed 99999999999999999999 is too large; it has to lie between"),
        (["sphere", "--seed", f"-{2**40}"], f"--seed -{2**40} is too large"),
        (["./gone.py"], "'./gone.py': there is no file "),
        (["./mine.py"], "'./mine.py' is a file; name the class after a colon, such as ./mine.py:Cube"),
    ],
)  # fmt: skip
def test_mistakes_of_check_are_one_line_and_exit_2(capsys, tmp_path, monkeypatch, words, line):
    (tmp_path / "mine.py").write_text("class Cube: ...\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_values_that_a_constructor_refuses_fail_the_check(capsys):
    assert main(["check", "sphere", "--set", "dim=-1"]) == 1
    assert "got -1" in capsys.readouterr().out


def test_every_command_module_is_complete():
    from importlib import import_module

    for command in COMMANDS:
        module = import_module(command.module)
        assert callable(module.configure)
        assert callable(module.run)
        assert module.__doc__.startswith(f"``flowloom {command.name}"), command.name


HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "transformers",
    "matplotlib",
    "sklearn",
    "rich",
    "jinja2",
    "PIL",
    "geoopt",
}


@pytest.mark.parametrize(
    ("words", "also"),
    [(["list"], ["yaml"]), (["list", "geometry"], ["yaml"]), (["plugins"], ["yaml"]),
     (["--help"], ["yaml", "pluggy", "importlib.metadata"]), (["list", "--help"], ["yaml", "pluggy", "importlib.metadata"])],
    ids=" ".join,
)  # fmt: skip
def test_light_commands_import_nothing_heavy(words, also):
    """With everything that is installed here, in a process of its own."""
    code = f"""
        import sys
        from flowloom_registry.cli import main
        before = set(sys.modules)
        assert main({words!r}) == 0
        print("IMPORTED", *sorted(set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.rpartition("IMPORTED")[2].split())
    assert "flowloom_registry.cli.main" in imported
    assert not imported & (HEAVY | set(also))


def test_plan_of_a_recipe_imports_what_it_names_alone():
    """Kinds of parts that plugins add are known to every recipe, and must not bring libraries of their own."""
    code = """
        import sys
        from flowloom_registry.cli import main
        assert main(["plan", "eight-gaussians", "--set", "coupling=independent"]) == 0
        print("IMPORTED", *sorted(set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.rpartition("IMPORTED")[2].split())
    assert "flowloom" in imported
    assert imported & HEAVY <= {"torch", "numpy", "rich", "jinja2"}


def test_notes_of_parts_are_one_line_and_warnings_of_libraries_are_theirs(capsys):
    with _notes_in_a_line():
        for file, said in (
            ("/a/flowloom/plugins/x/src/flowloom_x/data.py", "note: 3 files\n"),
            ("/a/flowloom/.venv/lib/site-packages/flowloom_x/data.py", "note: 3 files\n"),
            ("/a/flowloom/.venv/lib/site-packages/torch/data.py", "torch/data.py:7: UserWarning: 3 files"),
        ):
            assert said in warnings.formatwarning("3 files", UserWarning, file, 7)
    assert "UserWarning" in warnings.formatwarning("3 files", UserWarning, "/flowloom/a.py", 7)
