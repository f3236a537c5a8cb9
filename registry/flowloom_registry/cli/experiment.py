"""``flowloom experiment FILE``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flowloom_registry.cli.given import count


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("experiment", help="an experiment's name, or a YAML file with arms: and grid:")
    parser.add_argument("--out", type=Path, help="folder of the study (default: experiments/NAME)")
    parser.add_argument(
        "--jobs", type=count, default=1, help="cells at a time, each in a process (default: 1)"
    )
    parser.add_argument("--small", action="store_true", help="its small form, where the file has one")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="A.B=VALUE",
        help="change one value of the recipe of every cell",
    )
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
    try:
        results = experiment.run(jobs=args.jobs, device=args.device)
    except KeyboardInterrupt:
        print_results(experiment.results())
        print("stopped; the same command goes on", file=sys.stderr)
        raise
    print_results(results)
    print(f"table: {experiment.folder.results}\nreport: {experiment.folder.report}")
    return 1 if results.ended(FAILED) else 0
