"""``flowloom export RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import examples, place


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument("--out", type=place, help="folder for the graphs (default: RUN/export)")
    parser.add_argument("--format", choices=("torch", "onnx", "all"), default="all", help="default: all")
    parser.add_argument("--solver", help="of the sampler (default: the recipe's)")
    parser.add_argument("--steps", type=int, help="its number of steps")
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    examples(
        parser,
        "flowloom export runs/digits",
        "flowloom export runs/digits --format onnx --solver heun --steps 8 --out served",
    )


def run(args: argparse.Namespace) -> int:
    """Write graphs of the network and of a sampler."""
    import torch

    from flowloom_registry.cli.given import require_folder
    from flowloom_registry.delivery.export import FORMATS, export
    from flowloom_registry.runs.chosen import chosen_solver
    from flowloom_registry.runs.open import open_run

    if args.out is not None:
        require_folder("--out", args.out)
    assembly, folder = open_run(args.run_folder, trust=args.trust)
    assembly.to(torch.device("cpu"))
    done = export(
        assembly,
        folder,
        args.out or args.run_folder / "export",
        lambda n: assembly.conditions_left({}, n),
        solver=chosen_solver(assembly, args.solver, args.steps),
        formats=FORMATS if args.format == "all" else (args.format,),
    )
    for note in done.notes:
        print(note)
    for file in done.files:
        print(file)
    return 0
