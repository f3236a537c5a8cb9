"""``flowloom compare RUN... | EXPERIMENT``."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders of finished runs, or one of an experiment",
    )
    parser.add_argument("--out", type=Path, help="folder for results.csv and report.html (default: none)")


def run(args: argparse.Namespace) -> int:
    """Print the results of what is there, training nothing."""
    from flowloom.errors import RunError
    from flowloom_registry.studies.folder import StudyFolder
    from flowloom_registry.studies.results import read_results, read_runs
    from flowloom_registry.studies.table import print_results

    studies = [path for path in args.paths if StudyFolder(path).index.is_file()]
    if studies and len(args.paths) > 1:
        raise RunError(f"{studies[0]} is a whole experiment; compare it by itself, or runs with runs")
    results = read_results(StudyFolder(studies[0])) if studies else read_runs(args.paths)
    print_results(results)
    if args.out is not None:
        folder = StudyFolder(args.out)
        results.write(folder)
        print(f"table: {folder.results}\nreport: {folder.report}")
    return 0
