"""The table of commands. A new command is one line here and one module.

A command module has ``configure(parser)``, which adds its arguments, and ``run(args) -> int``, which does
the work and returns the exit code. It is imported only when its command was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        name: word after ``flowloom``.
        module: where ``configure`` and ``run`` live.
        summary: one line for ``flowloom --help``.
    """

    name: str
    module: str
    summary: str


COMMANDS: tuple[Command, ...] = (
    Command("run", "flowloom_registry.cli.run", "carry out a recipe, or go on with a run"),
    Command("plan", "flowloom_registry.cli.plan", "what a recipe would cost: parameters, operations, memory"),
    Command("sample", "flowloom_registry.cli.sample", "draw from a trained run"),
    Command("export", "flowloom_registry.cli.export", "write a run as graphs: torch.export and ONNX"),
    Command("serve", "flowloom_registry.cli.serve", "answer requests for samples over HTTP"),
    Command("push", "flowloom_registry.cli.push", "upload a run, with a card, to the Hugging Face hub"),
    Command("pull", "flowloom_registry.cli.pull", "download a run from the Hugging Face hub"),
    Command("task", "flowloom_registry.cli.task", "ask something of a trained run: fill in a prompt ..."),
    Command("eval", "flowloom_registry.cli.evaluate", "judge a trained run again"),
    Command("report", "flowloom_registry.cli.report", "make a run's report anew from its files"),
    Command(
        "experiment",
        "flowloom_registry.cli.experiment",
        "carry out and compare many runs: arms, a grid, seeds",
    ),
    Command("compare", "flowloom_registry.cli.compare", "compare finished runs, or those of an experiment"),
    Command("verify", "flowloom_registry.cli.verify", "decide the claims of recipes, system by system"),
    Command("runs", "flowloom_registry.cli.runs", "list the runs under a folder"),
    Command("list", "flowloom_registry.cli.list_rows", "list components, recipes and experiments"),
    Command(
        "show", "flowloom_registry.cli.show", "show all of a component, recipe, contract, section or record"
    ),
    Command(
        "plugins", "flowloom_registry.cli.plugins", "list installed plugins, broken ones with their error"
    ),
    Command("check", "flowloom_registry.cli.check", "hold components to the laws of their kind"),
    Command("new", "flowloom_registry.cli.new", "write the skeleton of a plugin"),
)
