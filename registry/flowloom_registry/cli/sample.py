"""``flowloom sample RUN -n N``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flowloom_registry.cli.conditions import HELP
from flowloom_registry.cli.given import count, examples


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument("-n", type=count, default=16, help="how many (default: 16)")
    parser.add_argument("--solver", help="name of a solver (default: the recipe's)")
    parser.add_argument("--steps", type=count, help="its number of steps")
    parser.add_argument("--cond", action="append", default=[], metavar="NAME=VALUE", help=HELP)
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument(
        "--out", type=Path, help="folder for states and pictures (default: RUN/samples/drawn)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")
    examples(
        parser,
        "flowloom sample runs/digits -n 16 --cond label=3",
        "flowloom sample runs/digits --solver heun --steps 8 --out drawn",
    )


def run(args: argparse.Namespace) -> int:
    """Draw, and write states and pictures."""
    from flowloom_registry.cli.conditions import conditions
    from flowloom_registry.cli.given import require_seed
    from flowloom_registry.runs.open import open_run, pick_device
    from flowloom_registry.runs.samples import show_examples

    require_seed(args.seed)
    device = pick_device(args.device)
    assembly, folder = open_run(args.run_folder, trust=args.trust)
    assembly.to(device)
    cond = conditions(args.cond, assembly, args.n)
    if assembly.asked_for() - set(cond):
        # What is not given comes from held-out rows, whatever is.
        cond = assembly.lengths(args.n) | assembly.conditions_to_show(args.n) | cond
    solution = assembly.flow.solve(
        args.n,
        solver=_solver(args, assembly.flow.solver, assembly),
        seed=args.seed,
        batch=assembly.evaluate.batch,
        cond=cond,
    )
    examples = assembly.drawn(solution, cond)
    out = args.out or folder.samples / "drawn"
    head = f"{args.n} examples, {solution.nfe} network evaluations each"
    show_examples(examples, assembly, out / "samples.safetensors", head)
    return 0


def _solver(args: argparse.Namespace, own: Any, assembly: Any) -> Any:
    from copy import copy

    from flowloom.errors import FlowloomError
    from flowloom.solvers import FixedGrid
    from flowloom_registry.config.example import build_component

    if args.solver is not None:
        settings = {} if args.steps is None else {"steps": args.steps}
        catalog = assembly.built.recipe.catalog
        return build_component(
            "solver", args.solver, settings, catalog=catalog, place=f"--solver {args.solver}"
        )
    if args.steps is None:
        return own
    if not isinstance(own, FixedGrid):
        raise FlowloomError(f"--steps: {type(own).__name__} chooses its own steps; name a --solver too")
    changed = copy(own)
    changed.steps, changed.grid = args.steps, None
    return changed
