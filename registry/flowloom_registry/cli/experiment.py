"""``flowloom experiment FILE``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from flowloom_registry.cli.given import count, place, takes_overrides

if TYPE_CHECKING:
    from flowloom_registry.studies.launchers import Launcher


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("experiment", help="an experiment's name, or a YAML file with arms: and grid:")
    parser.add_argument("--out", type=place, help="folder of the study (default: experiments/NAME)")
    parser.add_argument(
        "--jobs", type=count, default=1, help="cells at a time, each in a process (default: 1)"
    )
    parser.add_argument(
        "--launcher", help="where cells are carried out: slurm, ray ... (default: processes of this machine)"
    )
    parser.add_argument(
        "--launch",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the launcher ('flowloom show slurm' has them)",
    )
    parser.add_argument("--cell", help="carry out this cell alone, as a launcher asks on another machine")
    parser.add_argument("--small", action="store_true", help="its small form, where the file has one")
    takes_overrides(parser, "change one value of the recipe of every cell")
    parser.add_argument("--seeds", metavar="SEEDS", help="in place of the file's: 3,4,5 or 3-5")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")


def run(args: argparse.Namespace) -> int:
    """Carry the cells out that are not done, and show all; 1 where a cell failed."""
    from flowloom_registry.cli.given import seeds
    from flowloom_registry.studies.experiment import Experiment
    from flowloom_registry.studies.folder import FAILED
    from flowloom_registry.studies.table import print_results

    experiment = Experiment(
        args.experiment,
        args.out,
        small=args.small,
        overrides=args.overrides,
        seeds=seeds(args.seeds),
    )
    if args.cell is not None:
        state = experiment.run_cell(args.cell, device=args.device)
        print(f"{args.cell}: {state.state}{f': {state.why}' if state.why else ''}")
        return 1 if state.state == FAILED else 0
    try:
        results = experiment.run(jobs=args.jobs, device=args.device, launcher=_launcher(args))
    except KeyboardInterrupt:
        print_results(experiment.results())
        print("stopped; the same command goes on", file=sys.stderr)
        raise
    print_results(results)
    print(f"table: {experiment.folder.results}\nreport: {experiment.folder.report}")
    return 1 if results.ended(FAILED) else 0


def _launcher(args: argparse.Namespace) -> Launcher | None:
    """The launcher that was asked for; None for processes of this machine."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import named, value
    from flowloom_registry.config.example import build_component

    if args.launcher is None:
        if args.launch:
            raise FlowloomError(f"--launch {args.launch[0]}: a setting of --launcher, which is not given")
        return None
    if args.jobs != 1:
        raise FlowloomError(f"--jobs is of processes on this machine; --launcher {args.launcher} has its own")
    texts = named("--launch", args.launch).items()
    said = {name: value(text, f"--launch {name}={text}") for name, text in texts}
    return build_component("launcher", args.launcher, said, place=f"--launcher {args.launcher}")
