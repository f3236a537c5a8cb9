"""``flowloom show``: everything that has a name can be looked up, and nothing is cut."""

import inspect
import json
import subprocess
import sys

import pytest

import flowloom
from flowloom_registry import discover
from flowloom_registry.cli import main
from flowloom_registry.config.signature import read_signature
from flowloom_registry.plugins.targets import load_attribute
from flowloom_registry.reference.docstring import sections_of, text_and_arguments
from flowloom_registry.reference.names import definitions, packages_of
from flowloom_registry.reference.outline import outline_of_class
from flowloom_registry.reference.records import RECORDS

CATALOG = discover(strict=True)
TARGETS = [target for targets in RECORDS.values() for target in targets]
SAID = [kind.contract for kind in CATALOG.kinds.values()] + TARGETS
SAID += [section.target for section in CATALOG.sections.values() if section.target]


@pytest.fixture
def show(capsys, monkeypatch):
    from flowloom_registry.plugins import discovery

    monkeypatch.setattr(discovery, "catalog", lambda: CATALOG)

    def make(*name):
        assert main(["show", *name]) == 0
        return capsys.readouterr().out

    return make


def bare(text):
    """Words alone: where lines are broken and indented does not matter."""
    return " ".join(text.split())


def test_the_overview_has_every_kind_section_and_record(show):
    words = show().split()
    assert {*CATALOG.kinds, *CATALOG.sections} <= set(words)
    assert {target.rpartition(":")[2] for target in TARGETS} <= set(words)


@pytest.mark.parametrize("target", sorted(set(SAID)))
def test_every_contract_and_record_is_shown_whole(show, target):
    """By its name: the docstring, and every public method with all that is said of it."""
    name = target.rpartition(":")[2]
    out = bare(show(name))
    value = load_attribute(target)
    if not inspect.isclass(value):
        doc = inspect.getdoc(value) if inspect.isfunction(value) else ""
        assert name in out
        assert bare(doc or "") in out
        return
    assert bare(inspect.getdoc(value)) in out
    for member, thing in inspect.getmembers(value):
        home = inspect.getattr_static(value, member)
        if member.startswith("_") or (not isinstance(home, property) and not inspect.isfunction(thing)):
            continue
        made = home.fget if isinstance(home, property) else thing
        if made.__module__.partition(".")[0] in ("flowloom", "flowloom_registry"):
            assert f" {member}" in out
            assert bare(made.__doc__ or "") in out, member


@pytest.mark.parametrize("section", list(CATALOG.sections))
def test_every_section_is_shown(show, section):
    assert f"{section}: {CATALOG.sections[section].meaning}" in show(section)


@pytest.mark.parametrize("kind", list(CATALOG.kinds))
def test_every_kind_has_its_place_in_a_recipe_and_names_all_its_components(show, kind):
    out = show(kind)
    if kind not in ("task", "bijection", "launcher"):  # of the command line; put together in Python
        assert "  recipe  " in out
    last = out.splitlines()[-1]
    assert last.strip() == ", ".join(row.name for row in CATALOG.of_kind(kind))


def test_places_of_kinds_without_a_section_are_found_in_the_records(show):
    assert "  recipe    train.optimizer: NAME" in show("optimizer")
    assert "  recipe    train.turns.NAME.decay: NAME" in show("Decay")
    assert "  recipe  train.turns.NAME" in show("TurnConfig")


def test_one_member_and_one_field(show):
    assert "Padding set to 0" in show("Layout.zero")
    assert show("train.lr").splitlines()[-1].strip() == "peak learning rate."
    assert "parts: Mapping[str, Spec]" in show("Spec.parts")


def test_spellings(show):
    whole = show("Layout")
    for name in ("flowloom.layout.Layout", "flowloom.layout:Layout", "LAYOUT"):
        assert show(name) == whole
    assert show("solution") == show("Solution")
    assert "kind/dataset" in show("flowloom.data.Dataset")
    assert show("Heun").startswith("Heun(")
    assert "  use     solver: heun" in show("Heun")


def test_laws_are_named(show):
    out = show("objective")
    assert "check_exact_answers_have_no_loss" in out
    assert "a model that knows both ends has no loss" in out


def test_equations_are_whole(show):
    assert r"\hat g = \mathcal{U}\big[" in show("config")


def test_a_parameter_of_many_lines_and_a_long_default_are_whole(show):
    out = bare(show("unet"))
    for says in text_and_arguments(load_attribute("flowloom_images.models:UNet"))[1].values():
        assert bare(" ".join(says)) in out


def test_every_public_name_of_core_is_known():
    known = {(one.module, one.name) for one in definitions(packages_of(CATALOG))}
    code = (
        "import importlib, json, pkgutil, flowloom\n"
        "names = []\n"
        "for m in pkgutil.walk_packages(flowloom.__path__, 'flowloom.'):\n"
        "    module = importlib.import_module(m.name)\n"
        "    for name in getattr(module, '__all__', ()):\n"
        "        home = getattr(getattr(module, name), '__module__', None)\n"
        "        if home == m.name: names.append((home, name))\n"
        "print(json.dumps(names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [tuple(pair) for pair in json.loads(done.stdout)]
    assert len(names) > 100
    assert set(names) <= known


def test_what_contracts_mention_is_among_the_records():
    """A type of flowloom in the signature of a contract is a record, a contract or a plain alias of one."""
    listed = {target.rpartition(":")[2] for target in SAID}
    ours = {one.name for one in definitions(["flowloom"]) if one.name[0].isupper() and not one.name.isupper()}
    aside = {"Groups"}  # of torch
    lacking = set()
    for kind in CATALOG.kinds.values():
        told = outline_of_class(CATALOG.contract(kind.name))
        for member in told.members:
            words = set("".join(c if c.isalnum() or c == "_" else " " for c in member.signature).split())
            lacking |= (words & ours) - aside - listed
    assert not lacking


def test_sections_of_a_docstring():
    doc = "First.\n\nMore.\n\nArgs:\n    a: one\n        and two.\n    b: three.\n\n        four.\n\nAfter."
    parts = sections_of(doc)
    assert [part.heading for part in parts] == ["", "Args", ""]
    assert parts[1].entries() == [("a", ("one", "and two.")), ("b", ("three.", "", "four."))]
    assert parts[2].lines == ("After.",)


def test_every_parameter_is_told_where_it_is_asked_for():
    """Docstrings leave to base classes what they inherit, or say "see `Base`."; whoever asks reads it."""
    lacking = []
    for row in CATALOG.rows:
        target = load_attribute(row.target)
        says = text_and_arguments(target)[1]
        for name in read_signature(target).parameters:
            first = " ".join(says.get(name, ()))
            if not first or first.startswith("see "):
                lacking.append((row.target, name, first))
    assert not lacking


def test_pointers_of_a_docstring_are_followed():
    folder = text_and_arguments(load_attribute("flowloom_audio.data:AudioFolder"))[1]
    assert folder["pause"] == ("seconds of silence between joined recordings, drawn up to this.",)
    euler = text_and_arguments(load_attribute("flowloom.solvers:Euler"))[1]
    assert euler["steps"] == ("number of equal steps.",)
    blocks = text_and_arguments(
        load_attribute("flowloom_fewstep.blockwise_objectives:BlockwiseFlowMatching")
    )[1]
    assert blocks["times"][-1] == "Uniform and spread over the batch by default."
    assert len(blocks["times"]) > 1


def test_an_overridden_method_is_told_once():
    told = outline_of_class(load_attribute("flowloom.objectives.flow_matching:FlowMatching"))
    names = [member.name for member in told.members]
    assert len(names) == len(set(names))
    field = next(member for member in told.members if member.name == "field")
    assert field.owner == "FlowMatching"
    assert not field.asked


def test_showing_a_record_of_the_registry_needs_no_torch():
    code = "import sys; from flowloom_registry.cli import main; main(['show']); exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    assert flowloom.__version__


def test_a_record_behind_a_mapping_is_named(capsys) -> None:
    assert main(["show", "train.parallel"]) == 0
    assert "flowloom show ParallelConfig" in capsys.readouterr().out
    assert main(["show", "ParallelConfig"]) == 0
    assert "'ddp', 'fsdp'" in capsys.readouterr().out
