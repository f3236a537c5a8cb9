"""``flowloom eval RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a trained run")
    parser.add_argument("-n", type=int, help="examples a column (default: the recipe's)")
    parser.add_argument(
        "--trust", action="store_true", help="run code that the recipe names by file or module"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")


def run(args: argparse.Namespace) -> int:
    """Evaluate again, and write table and report anew."""
    from dataclasses import replace

    from flowloom.errors import FlowloomError
    from flowloom_registry.runs.carry_out import judge_and_report
    from flowloom_registry.runs.open import open_run, pick_device
    from flowloom_registry.runs.table import print_table

    device = pick_device(args.device)
    experiment, folder = open_run(args.run_folder, trust=args.trust)
    if args.n is not None:
        if args.n < 2:
            raise FlowloomError(f"-n must be at least 2, got {args.n}")
        experiment.evaluate = replace(experiment.evaluate, n=args.n)
    experiment.flow.to(device)
    with folder.locked():
        result = judge_and_report(experiment, folder)
    if result is None:
        raise FlowloomError("the run's recipe names no metrics and no scores; only its report was written")
    print_table(result)
    print(f"report: {folder.report}")
    return 0
