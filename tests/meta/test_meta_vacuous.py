"""A component of which no law can be checked has shown nothing, and fails."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.kinds import Kind
from flowloom.models import MLP
from flowloom.paths import AffinePath
from flowloom.solvers import Euler
from flowloom.spec import Spec
from flowloom.testing import check, law, parametrize_with_checks


class RefusingPath(AffinePath):
    def sample(self, *args, **kwargs):
        raise IncompatibleError("no")


class RefusingSolver(Euler):
    def solve(self, *args, **kwargs):
        raise IncompatibleError("no")


@pytest.mark.parametrize("make", [RefusingPath, lambda: RefusingSolver(4)], ids=["path", "solver"])
def test_a_component_that_refuses_every_law_fails(make):
    results = check(make)
    assert {r.status for r in results[:-1]} == {"skipped"}
    assert (results[-1].name, results[-1].status) == ("check_is_not_vacuous", "failed")
    assert "no law of its kind could be checked: refuses what the check offers: no" in results[-1].message


def test_a_component_that_keeps_a_law_is_not_vacuous():
    assert check(AffinePath)[-1].status == "passed"


def test_laws_that_apply_to_nothing_fail_as_well(monkeypatch):
    laws = ModuleType("laws_of_things")

    @law("no instance is meant", when=lambda _: False)
    def check_nothing(make, context): ...

    laws.check_nothing = check_nothing
    monkeypatch.setitem(sys.modules, "laws_of_things", laws)
    results = check(object, Kind("thing", "builtins:object", "of this test", laws="laws_of_things"))
    assert [(r.name, r.status) for r in results] == [("check_is_not_vacuous", "failed")]


def test_a_kind_without_laws_has_no_verdicts():
    assert check(object, Kind("thing", "builtins:object", "of this test")) == []


def test_it_is_an_item_of_its_own():
    (mark,) = parametrize_with_checks({"p": RefusingPath}).mark.args[1:]
    last = mark[-1]
    assert last.id == "p-check_is_not_vacuous"
    with pytest.raises(pytest.fail.Exception, match="no law of its kind could be checked"):
        last.values[0]()


@parametrize_with_checks({"net": lambda: MLP(Spec(shape=(2,)), width=8)}, slow=False)
def test_an_item_of_a_right_one_passes(conforms):
    conforms()


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("@law\ndef check_a(make, context): ...", "raised TypeError: a law is told in words"),
        ("def check_a(make, context): ...", "laws_in_file.check_a is not marked, and would never be asked"),
        ("def a(make, context): ...", "laws_in_file has no function check_"),
        ("import gone", "raised ModuleNotFoundError: No module named 'gone'"),
    ],
)
def test_laws_that_would_never_be_asked_are_told(tmp_path, monkeypatch, source, line):
    (tmp_path / "laws_in_file.py").write_text(f"from flowloom.testing import law\n\n{source}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "laws_in_file", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(FlowloomError, match=line) as told:
        check(object, Kind("thing", "builtins:object", "of this test", laws="laws_in_file"))
    assert str(told.value).startswith("laws of kind 'thing': ")
    sys.modules.pop("laws_in_file", None)
