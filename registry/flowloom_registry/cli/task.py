"""``flowloom task RUN TASK GIVEN``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowloom_registry.cli.conditions import HELP
from flowloom_registry.cli.given import count, place

if TYPE_CHECKING:
    from flowloom.data import Dataset
    from flowloom_registry.plugins.catalog import Catalog


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

    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.conditions import conditions
    from flowloom_registry.cli.given import require_folder, require_seed, settings, value
    from flowloom_registry.config.example import build_component
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.runs.open import open_run, pick_device
    from flowloom_registry.runs.pictures import slug
    from flowloom_registry.runs.samples import show_examples

    require_seed(args.seed)
    found = catalog()
    # A task that nobody knows is told before what it would be given.
    use, named = _meant(args.task, args.run_folder, found)
    overrides = [word for word in args.arguments if "." in word.partition("=")[0]]
    said = {**named, **settings(word for word in args.arguments if word not in overrides)}
    if args.env is not None:
        said["env"] = value(args.env, f"--env {args.env}")
    if args.prompt is not None:
        said["prompt"] = args.prompt
    task = build_component("task", use, said, catalog=found, place=f"task {args.task}")
    if args.given is None and not task.unasked:
        raise FlowloomError(
            f"what is task {args.task} about? say so after its name: flowloom task {args.run_folder} "
            f"{args.task} GIVEN, the prompt 'ROMEO: ____' of infill or the held-out row 17 of inpaint"
        )
    file = args.out if args.out is not None and args.out.suffix else None
    if file is not None:
        task.require_writes(file)
    if args.out is not None:
        require_folder("--out", args.out if file is None else args.out.parent)
    usual = task.unasked if args.given is None else (4 if file is None else 1)
    n = args.n if args.n is not None else usual
    device = pick_device(args.device)
    assembly, folder = open_run(args.run_folder, trust=args.trust, overrides=overrides)
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


def _meant(name: str, run: Path, found: Catalog) -> tuple[str, dict[str, Any]]:
    """The component that a name means, and its arguments where the run's recipe calls a task so.

    Raises:
        UnknownComponentError: it is neither.
        RunError, ConfigError: the run's recipe is damaged.
    """
    from flowloom_registry.config.nodes import plain
    from flowloom_registry.config.yaml import read
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.runs.ask import numbered
    from flowloom_registry.runs.folder import RunFolder, read_text

    recipe = RunFolder(run).recipe
    text = plain(read(read_text(recipe), str(recipe)).root) if recipe.is_file() else None
    asked = (text.get("tasks") or []) if isinstance(text, dict) else []
    known = [one for one in asked if isinstance(one, dict) and one.get("use")]
    names = numbered(one.get("name") or one["use"].rpartition(":")[2] for one in known)
    own = dict(zip(names, known, strict=True))
    if name in own:
        # Nobody judges these answers.
        kept = {key: value for key, value in own[name].items() if key not in ("use", "name", "metrics")}
        return own[name]["use"], kept
    try:
        found.find("task", name)
    except UnknownComponentError as error:
        told = f"; the recipe of {run} names {', '.join(own)}" if own else ""
        raise UnknownComponentError(f"{error}{told}") from None
    return name, {}


def _held_out(data: Dataset, split: str) -> Dataset:
    """The rows that a task may ask about: held-out ones, where the data has such a split."""
    from flowloom.errors import DataError

    try:
        return data.split(split)
    except DataError:
        return data
