"""``flowloom task RUN TASK GIVEN``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flowloom_registry.cli.conditions import HELP
from flowloom_registry.cli.given import count, place
from flowloom_registry.numbered import numbered

if TYPE_CHECKING:
    from flowloom.data import Dataset
    from flowloom.tasks import Task
    from flowloom_registry.runs.assembly import Assembly
    from flowloom_registry.runs.folder import RunFolder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument(
        "task", metavar="TASK", help="name of a task, such as infill, or of one in the run's recipe"
    )
    parser.add_argument(
        "given",
        metavar="GIVEN",
        nargs="?",
        help="what it is about: the prompt 'ROMEO: ____' of infill, the held-out row 17 of inpaint",
    )
    parser.add_argument(
        "-n",
        type=count,
        help="how many answers (default: 4, and 1 for a file; as many as the task likes if nothing is GIVEN)",
    )
    parser.add_argument("--cond", action="append", default=[], metavar="NAME=VALUE", help=HELP)
    parser.add_argument(
        "--set",
        dest="arguments",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the task; with a dot, what the run is asked with: guidance.scale=3",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the answers (default: 0)")
    parser.add_argument(
        "--env", metavar="NAME", help="the same as --set env=NAME: the world that is acted in"
    )
    parser.add_argument("--prompt", metavar="FILE", help="the same as --set prompt=FILE: what to go by")
    parser.add_argument(
        "-o",
        "--out",
        type=place,
        help="folder for states and pictures (default: RUN/samples/TASK), or a file such as out.wav for "
        "the answer alone",
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")


def run(args: argparse.Namespace) -> int:
    """Ask, print what can be printed, and write answers and pictures."""
    from dataclasses import replace

    from flowloom_registry.cli.conditions import conditions
    from flowloom_registry.cli.given import require_folder, require_seed
    from flowloom_registry.runs.open import pick_device
    from flowloom_registry.runs.pictures import slug
    from flowloom_registry.runs.samples import show_examples

    require_seed(args.seed)
    file = args.out if args.out is not None and args.out.suffix else None
    if args.out is not None:
        require_folder("--out", args.out if file is None else args.out.parent)
    device = pick_device(args.device)
    task, assembly, folder = _opened(args, file)
    usual = task.unasked if args.given is None else (4 if file is None else 1)
    n = args.n if args.n is not None else usual
    flow = assembly.flow
    flow.to(device)
    viewed, data = assembly.require_data("a task is asked about data"), assembly.built["data"]
    rows = viewed if task.viewed else data
    asked = task.read(args.given or "", _held_out(rows, assembly.evaluate.split), n)
    given = conditions(args.cond, assembly, n)
    answers = task(flow, replace(asked, cond={**asked.cond, **given}), seed=args.seed)
    for line in task.show(answers, data):
        print(line)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        for written in task.write(answers, data, file):
            print(written)
        return 0
    out = args.out or folder.samples / slug(args.task.rpartition(":")[2])
    show_examples(answers, assembly, out / "answers.safetensors", f"{n} answers")
    return 0


def _opened(args: argparse.Namespace, file: Path | None) -> tuple[Task, Assembly, RunFolder]:
    """The task that is meant and the run that it is asked of.

    Raises:
        UnknownComponentError: it is neither one of the run's recipe nor a component.
        FlowloomError: nothing is said that it could be about, or it writes no such file.
        RunError, ConfigError: the run cannot be opened.
    """
    from flowloom.tasks import Task
    from flowloom_registry.cli.given import settings, value
    from flowloom_registry.config.example import build_component
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.runs.open import open_run

    # A task that nobody knows is told before what it would be given.
    own = _own(args.task, args.run_folder)
    overrides = [word for word in args.arguments if "." in word.partition("=")[0]]
    said = settings(word for word in args.arguments if word not in overrides)
    if args.env is not None:
        said["env"] = value(args.env, f"--env {args.env}")
    if args.prompt is not None:
        said["prompt"] = args.prompt
    if own is None:
        task = build_component("task", args.task, said, catalog=catalog(), place=f"task {args.task}")
        _require(task, args, file)
    else:  # JSON is YAML in which every text is one
        overrides += [f"tasks.{own}.{name}={json.dumps(one)}" for name, one in said.items()]
    assembly, folder = open_run(args.run_folder, trust=args.trust, overrides=overrides)
    if own is not None:
        made = dict(assembly.built.places.made(Task))
        if f"tasks[{own}]" not in made:  # its own package is not here; building all of them says which
            open_run(args.run_folder, trust=args.trust, overrides=overrides, judged=True)
        task = made[f"tasks[{own}]"]
        _require(task, args, file)
    return task, assembly, folder


def _require(task: Task, args: argparse.Namespace, file: Path | None) -> None:
    """Ask for what the task wants before anything is answered."""
    from flowloom.errors import FlowloomError

    if args.given is None and not task.unasked:
        raise FlowloomError(
            f"what is task {args.task} about? say so after its name: flowloom task {args.run_folder} "
            f"{args.task} GIVEN, the prompt 'ROMEO: ____' of infill or the held-out row 17 of inpaint"
        )
    if file is not None:
        task.require_writes(file)


def _own(name: str, run: Path) -> int | None:
    """Which task of the run's recipe a name means; None where it means a component.

    Raises:
        UnknownComponentError: it is neither.
        RunError, ConfigError: the run's recipe is damaged.
    """
    from flowloom_registry.config.nodes import plain
    from flowloom_registry.config.yaml import read
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.runs.folder import RunFolder, read_text

    recipe = RunFolder(run).recipe
    text = plain(read(read_text(recipe), str(recipe)).root) if recipe.is_file() else None
    asked = (text.get("tasks") or []) if isinstance(text, dict) else []
    known = [(i, one) for i, one in enumerate(asked) if isinstance(one, dict) and one.get("use")]
    names = numbered(one.get("name") or one["use"].rpartition(":")[2] for _, one in known)
    if name in names:
        return known[names.index(name)][0]
    try:
        catalog().find("task", name)
    except UnknownComponentError as error:
        told = f"; the recipe of {run} names {', '.join(names)}" if names else ""
        raise UnknownComponentError(f"{error}{told}") from None
    return None


def _held_out(data: Dataset, split: str) -> Dataset:
    """The rows that a task may ask about: held-out ones, where the data has such a split."""
    from flowloom.errors import DataError

    try:
        return data.split(split)
    except DataError:
        return data
