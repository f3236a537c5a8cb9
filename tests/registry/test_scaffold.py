# ruff: noqa: E501  (expected messages are single lines)
"""`flowloom new plugin NAME`: the package is whole, its parts work, and nothing is overwritten."""

import ast
import os
import subprocess
import sys
from importlib import metadata

import pytest

from flowloom_registry.cli import main
from flowloom_registry.errors import ConfigError, PluginError
from flowloom_registry.scaffold import write_plugin


@pytest.fixture
def package(tmp_path):
    return write_plugin("sea-ice", tmp_path)


def test_files(package):
    files = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    assert files == [
        "README.md", "pyproject.toml", "src/flowloom_sea_ice/__init__.py", "src/flowloom_sea_ice/data.py",
        "src/flowloom_sea_ice/plugin.py", "src/flowloom_sea_ice/py.typed",
        "src/flowloom_sea_ice/recipes/sea_ice_rings.yaml", "src/flowloom_sea_ice/schedules.py", "tests/test_sea_ice.py",
    ]  # fmt: skip
    for path in package.rglob("*"):
        if path.is_file():
            assert "$" not in path.read_text(), path
        if path.suffix == ".py":
            ast.parse(path.read_text())
    recipe = (package / "src/flowloom_sea_ice/recipes/sea_ice_rings.yaml").read_text()
    assert "metrics:" in recipe, "a first run has a table"
    assert "renderer:" in recipe, "and pictures"


def test_rows_build_without_installing(package, flowloom_catalog, monkeypatch):
    from flowloom_registry import build_component, build_example

    monkeypatch.syspath_prepend(str(package / "src"))
    import flowloom_sea_ice.plugin

    found = flowloom_catalog(**{"sea-ice": flowloom_sea_ice.plugin})
    rows = [row for row in found.rows if row.plugin.name == "sea-ice"]
    assert [row.label for row in rows] == ["dataset/sea-ice-rings", "schedule/sea-ice-power"]
    for row in rows:
        assert isinstance(build_example(row, catalog=found), found.contract(row.kind))
    with pytest.raises(ConfigError, match=r"Power: n must be at least 1, got 0\.5"):
        build_component("schedule", "sea-ice-power", {"n": 0.5}, catalog=found)


@pytest.mark.parametrize("tool", [["ruff", "check", "--isolated", "--line-length", "110", "--select", "E,F,UP,B,D100,D101,D102,D103"],
                                  ["ruff", "format", "--isolated", "--line-length", "110", "--check"]], ids=" ".join)  # fmt: skip
def test_what_is_written_is_tidy(package, tool):
    done = subprocess.run(
        [sys.executable, "-m", *tool, str(package / "src")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_refuses_an_existing_folder(tmp_path, capsys):
    (tmp_path / "flowloom-sea-ice").mkdir()
    assert main(["new", "plugin", "sea-ice", "--into", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not list((tmp_path / "flowloom-sea-ice").iterdir())


@pytest.mark.parametrize(
    "name", ["", "Ice", "sea_ice", "1st", "a b", "../x", "-x", "x-", "sea--ice", "core", "flowloom-ice"]
)
def test_refuses_bad_names(tmp_path, name):
    with pytest.raises(PluginError):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_says_what_to_do_next(tmp_path, capsys):
    assert main(["new", "plugin", "sea-ice", "--into", str(tmp_path / "deep")]) == 0
    assert f"pip install -e {tmp_path / 'deep' / 'flowloom-sea-ice'}" in capsys.readouterr().out


def test_installs_and_passes_its_own_tests(package, tmp_path):
    # As the guides say: write a class, and add a line to plugin.py.
    words = package / "src/flowloom_sea_ice/plugin.py"
    line = '    reg.add("dataset", "sea-ice-more", "flowloom_sea_ice.data:Rings", summary="more of them")\n'
    words.write_text(words.read_text() + line)
    target = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(package)], check=True)
    (installed,) = metadata.distributions(path=[str(target)])
    assert installed.metadata["Name"] == "flowloom-sea-ice"
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests")]
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    check = [sys.executable, "-m", "flowloom_registry", "check", "sea-ice"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "schedule/sea-ice-power" in done.stdout
    assert "dataset/sea-ice-more" in done.stdout
    assert "failed" not in done.stdout
