"""``flowloom run RECIPE``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from flowloom_registry.cli.given import examples, place, takes_overrides
from flowloom_registry.runs.command import command


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("recipe", help="a recipe's name, a YAML file, or the folder of a run to go on with")
    parser.add_argument("--out", type=place, help="run folder (default: runs/NAME, with the seed if not 0)")
    parser.add_argument(
        "--with",
        dest="layers",
        action="append",
        default=[],
        metavar="RECIPE",
        help="lay another recipe, or a part of one, over it; may be given several times",
    )
    takes_overrides(
        parser,
        "change one value, written as in YAML (stages.NAME.A.B=VALUE: of one stage); may be "
        "given several times",
    )
    parser.add_argument("--steps", type=int, help="short for --set train.steps=STEPS")
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="for a run folder, given or used, or a recipe in one: run code that it names by file or module",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")
    parser.add_argument("--quiet", action="store_true", help="no progress; only the results")
    examples(
        parser,
        "flowloom run digits",
        "flowloom run digits --steps 2000 --seed 1 --set 'metrics=[energy-distance]'",
        "flowloom run markov --with dirichlet-flow --out runs/simplex",
        "flowloom run runs/digits              # goes on where it stopped",
        "torchrun --nproc-per-node 2 -m flowloom_registry run digits     # two processes train together",
    )


def run(args: argparse.Namespace) -> int:
    """Carry the recipe out."""
    from flowloom_registry.cli.processes import group

    with group(args.device) as device:
        return _carried_out(args, device)


def _carried_out(args: argparse.Namespace, device: str | None) -> int:
    from flowloom.errors import RunError
    from flowloom_registry.config.recipe import load_recipe

    overrides = list(args.overrides)
    overrides += [f"train.steps={args.steps}"] if args.steps is not None else []
    overrides += [f"seed={args.seed}"] if args.seed is not None else []
    given = Path(args.recipe)
    if given.is_dir():
        if overrides or args.layers or args.out:
            raise RunError(
                f"{given} goes on with the recipe it has; --with, --set, --steps, --seed and --out are for "
                "new runs"
            )
        from flowloom_registry.runs.folder import RunFolder

        place = RunFolder(given)
        # Once the last stage is begun, all that comes before it is in the folder.
        staged = place.stages.is_file() and not place.status_file.is_file()
        if not staged:
            place.status()
        file = place.stages if staged else place.recipe
        recipe, out = load_recipe(str(file), trusted=args.trust, trusts_runs=args.trust), given
    else:
        trusted = args.trust or None  # a recipe in a run folder is not, unless it is said
        recipe = load_recipe(
            args.recipe, layers=args.layers, overrides=overrides, trusted=trusted, trusts_runs=args.trust
        )
        seed = getattr(recipe.tree.get("seed"), "value", 0) or 0
        out = args.out or Path("runs") / (recipe.name if not seed else f"{recipe.name}-seed{seed}")
    # Mistakes in the recipe are reported before torch's slow import of everything else.
    from flowloom_registry.runs.open import pick_device
    from flowloom_registry.runs.progress import quietly
    from flowloom_registry.runs.stages import carry_out_stages
    from flowloom_registry.runs.table import print_table
    from flowloom_registry.runs.trust import needs_trust
    from flowloom_registry.runs.words import say

    try:
        with quietly(args.quiet):
            folder, result = carry_out_stages(recipe, out, pick_device(device), command(_words(args)))
    except KeyboardInterrupt as stop:
        where = f" in {stop}" if stop.args else ""
        print(f"stopped{where}; go on with: {_going_on(args, out)}", file=sys.stderr)
        raise
    if result is not None:
        print_table(result)
    if folder.report.is_file():  # a note said so where not
        print(f"report: {folder.report}")
    with quietly(args.quiet):
        shown = shlex.quote(str(folder.path))
        trust = " --trust" if needs_trust(folder.recipe) else ""
        sample = [f"        flowloom sample {shown} -n 16{trust}"] if folder.drawn.is_file() else []
        say([f"next:   flowloom report {shown} --open", *sample])
    return 0


def _going_on(args: argparse.Namespace, out: Path) -> str:
    """The command that goes on with what was stopped, or begins it where nothing of it was written yet."""
    from flowloom_registry.cli.processes import on_this_machine, size
    from flowloom_registry.runs.folder import RunFolder
    from flowloom_registry.runs.trust import needs_trust

    place = RunFolder(out)
    if on_this_machine() < size():
        return "the same command on every machine"
    options = ["--trust"] if args.trust else []
    if not (place.status_file.is_file() or place.stages.is_file()):
        options += ["--quiet"] if args.quiet else []
        return command([*_words(args), *options], size())
    if not options and needs_trust(place.stages if place.stages.is_file() else place.recipe):
        options = ["--trust"]
    options += ["--device", args.device] if args.device is not None else []
    return place.going_on(*options)


def _words(args: argparse.Namespace) -> list[str]:
    """The command that was given, as far as a run depends on it."""
    words = ["run", args.recipe]
    for layer in args.layers:
        words += ["--with", layer]
    for override in args.overrides:
        words += ["--set", override]
    for name in ("steps", "seed", "out", "device"):
        if getattr(args, name) is not None:
            words += [f"--{name}", str(getattr(args, name))]
    return words
