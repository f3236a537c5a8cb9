"""Every hook is documented and called with what it promises; one without a test here fails the last."""

import inspect
import sys

from fakeflow.handmade import plugin

from flowloom_registry.plugins import hookspecs

SPECS = {name: value for name, value in vars(hookspecs).items() if name.startswith("flowloom_")}


def called(fake_discover, hook, **arguments):
    """What an implementation of ``hook`` receives."""
    seen = []
    names = ", ".join(arguments)
    namespace = {"seen": seen}
    exec(
        f"def {hook}({names}):\n    seen.append(dict({', '.join(f'{n}={n}' for n in arguments)}))", namespace
    )
    found = fake_discover(tracker=plugin(**{hook: namespace[hook]}))
    getattr(found.hooks, hook)(**arguments)
    return seen


def test_flowloom_register(fake_discover):
    found = fake_discover(
        mine=plugin(lambda reg: reg.add("geometry", "torus", "fakeflow.parts:Sphere", summary="s"))
    )
    assert found.find("geometry", "torus").plugin.name == "mine"


def test_flowloom_run_started(fake_discover):
    assert called(fake_discover, "flowloom_run_started", run="r") == [{"run": "r"}]


def test_flowloom_step(fake_discover):
    arguments = {"run": "r", "step": 3, "metrics": {"loss": 1.0}}
    assert called(fake_discover, "flowloom_step", **arguments) == [arguments]


def test_flowloom_sampled(fake_discover):
    assert called(fake_discover, "flowloom_sampled", run="r", samples="s") == [{"run": "r", "samples": "s"}]


def test_flowloom_evaluated(fake_discover):
    assert called(fake_discover, "flowloom_evaluated", run="r", results={}) == [{"run": "r", "results": {}}]


def test_flowloom_finished(fake_discover):
    assert called(fake_discover, "flowloom_finished", run="r") == [{"run": "r"}]


def test_flowloom_doctor(fake_discover):
    found = fake_discover(mine=plugin(flowloom_doctor=lambda: ["no sound card"]))
    assert found.hooks.flowloom_doctor() == [["no sound card"]]


def test_flowloom_commands(fake_discover, monkeypatch, capsys):
    from flowloom_registry.cli import main
    from flowloom_registry.plugins import discovery

    def add(subparsers):
        parser = subparsers.add_parser("greet")
        parser.add_argument("who")
        parser.set_defaults(run=lambda args: print(f"hello {args.who}") or 5)

    monkeypatch.setattr(discovery, "catalog", lambda: fake_discover(mine=plugin(flowloom_commands=add)))
    assert main(["greet", "you"]) == 5
    assert capsys.readouterr().out == "hello you\n"


def test_implementations_may_take_fewer_arguments(fake_discover):
    seen = []
    found = fake_discover(mine=plugin(flowloom_step=lambda step: seen.append(step)))
    found.hooks.flowloom_step(run=None, step=4, metrics={})
    assert seen == [4]


def test_every_hook_is_documented_and_tested():
    assert len(SPECS) == 8
    for name, spec in SPECS.items():
        doc = inspect.getdoc(spec)
        assert doc, name
        assert "\n" not in doc, name
        assert f"test_{name}" in vars(sys.modules[__name__]), name
