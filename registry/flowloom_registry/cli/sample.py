"""``flowloom sample RUN -n N``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowloom_registry.cli.conditions import HELP
from flowloom_registry.cli.given import count, examples, place, takes_overrides

if TYPE_CHECKING:
    from flowloom_registry.delivery.shards import Drawer


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument("-n", type=count, default=16, help="how many (default: 16)")
    parser.add_argument("--solver", help="name of a solver (default: the recipe's)")
    parser.add_argument("--steps", type=count, help="its number of steps")
    parser.add_argument("--cond", action="append", default=[], metavar="NAME=VALUE", help=HELP)
    takes_overrides(parser, "ask differently: guidance.scale=3, or codec.decoder=griffin-lim")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument(
        "--out", type=place, help="folder for states and pictures (default: RUN/samples/drawn, or shards)"
    )
    parser.add_argument(
        "--shards",
        action="store_true",
        help="any number, into files of many with an index; the same command goes on where it stopped",
    )
    parser.add_argument("--jobs", type=int, help="with --shards: processes (default: 1)")
    parser.add_argument(
        "--batch", type=int, help="with --shards: examples at a time (default: the recipe's evaluate.batch)"
    )
    parser.add_argument(
        "--shard-rows", type=int, help="with --shards: examples a file, in whole batches (default: 64 MiB)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")
    examples(
        parser,
        "flowloom sample runs/digits -n 16 --cond label=3",
        "flowloom sample runs/digits --solver heun --steps 8 --out drawn",
        "flowloom sample runs/digits -n 1000000 --shards --jobs 8",
    )


def run(args: argparse.Namespace) -> int:
    """Draw, and write states and pictures."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.conditions import conditions
    from flowloom_registry.cli.given import require_folder, require_seed
    from flowloom_registry.runs.chosen import chosen_solver
    from flowloom_registry.runs.open import open_run, pick_device
    from flowloom_registry.runs.samples import show_examples

    require_seed(args.seed)
    if args.out is not None:
        require_folder("--out", args.out)
    device = pick_device(args.device)
    if args.shards:
        return _to_shards(args, str(device))
    for name in ("jobs", "batch", "shard_rows"):
        if getattr(args, name) is not None:
            raise FlowloomError(f"--{name.replace('_', '-')} is for --shards; add it")
    assembly, folder = open_run(args.run_folder, trust=args.trust, overrides=args.overrides)
    assembly.flow.objective.require_generates()
    assembly.to(device)
    cond = assembly.conditions_left(conditions(args.cond, assembly, args.n), args.n)
    solution = assembly.flow.solve(
        args.n,
        solver=chosen_solver(assembly, args.solver, args.steps),
        seed=args.seed,
        batch=assembly.evaluate.batch,
        cond=cond,
    )
    examples = assembly.drawn(solution, cond)
    out = args.out or folder.samples / "drawn"
    asked = "evaluation" if solution.nfe == 1 else "evaluations"
    head = f"{args.n} {'example' if args.n == 1 else 'examples'}, {solution.nfe} network {asked} each"
    show_examples(examples, assembly, out / "samples.safetensors", head)
    return 0


def _to_shards(args: argparse.Namespace, device: str) -> int:
    """Draw any number, shard by shard."""
    from functools import partial

    from flowloom_registry.delivery.shards import write_shards

    out = args.out or args.run_folder / "samples" / "shards"
    make = partial(
        open_drawer,
        args.run_folder.absolute(),
        args.n,
        tuple(args.cond),
        args.solver,
        args.steps,
        args.seed,
        args.trust,
        overrides=tuple(args.overrides),
    )
    index = write_shards(
        make,
        out,
        device=device,
        batch=args.batch,
        shard_rows=args.shard_rows,
        jobs=1 if args.jobs is None else args.jobs,
    )
    print(f"{args.n} examples in {len(index['shards'])} shards: {out / 'index.json'}")
    return 0


def open_drawer(
    path: Path,
    n: int,
    words: Sequence[str],
    solver: str | None,
    steps: int | None,
    seed: int,
    trust: bool,
    device: str,
    overrides: Sequence[str] = (),
) -> Drawer:
    """What draws the samples of a command, opened in the process that draws them."""
    from flowloom_registry.cli.conditions import Given
    from flowloom_registry.delivery.shards import Drawer
    from flowloom_registry.runs.chosen import chosen_solver
    from flowloom_registry.runs.open import open_run, pick_device

    assembly, folder = open_run(path, trust=trust, overrides=overrides)
    assembly.flow.objective.require_generates()
    assembly.to(pick_device(device))
    return Drawer(
        assembly,
        folder,
        n,
        seed,
        chosen_solver(assembly, solver, steps),
        Given.read(words, assembly, n),
        {"solver": solver, "steps": steps, "cond": list(words)}
        | ({"set": list(overrides)} if overrides else {}),
    )
