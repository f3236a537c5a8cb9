"""The suite that runs from outside, over components that somebody else lists."""

from __future__ import annotations

import subprocess
import sys

from flowloom.geometry import Sphere
from flowloom.kinds import Kind
from flowloom.schedules import Cosine
from flowloom.testing.suite import Component, run

LAWLESS = Kind("vocoder", "builtins:object", "without laws")

CONFTEST = """
from flowloom.kinds import Kind
from flowloom.schedules import Cosine
from flowloom.testing.suite import COMPONENTS, Component

class Broken(Cosine):
    def d_alpha(self, t):
        return 2 * super().d_alpha(t)

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: long")
    excuse = {"check_derivatives": "known to be wrong"}
    config.stash[COMPONENTS] = [
        Component("schedule", "cosine", Cosine),
        Component("schedule", "broken", Broken, expected_failures=excuse),
        Component("schedule", "worse", Broken),
        Component(Kind("vocoder", "builtins:object", "without laws"), "has-no-laws", Cosine),
    ]
"""


def test_run_gives_verdicts_by_name():
    listed = [Component("geometry", "sphere", lambda: Sphere(2)), Component(LAWLESS, "none", object)]
    results = run(listed)
    assert list(results) == ["geometry/sphere"]
    assert all(r.ok for r in results["geometry/sphere"])


def test_pytest_makes_one_item_of_every_component_and_check(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "-c", "/dev/null"]
    command += ["--rootdir", str(tmp_path), "--confcutdir", str(tmp_path), "-p", "conftest"]
    command += ["--pyargs", "flowloom.testing.suite"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    out = done.stdout + done.stderr
    assert "schedule/worse-check_derivatives" in out, out
    assert "1 failed, 22 passed, 1 xfailed" in out, out
    assert "d_alpha = d/dt alpha" in out


def test_components_are_built_afresh_for_every_check():
    built = []

    def make():
        built.append(Cosine())
        return built[-1]

    results = run([Component("schedule", "cosine", make)])
    assert len({id(b) for b in built}) > len(results["schedule/cosine"])
