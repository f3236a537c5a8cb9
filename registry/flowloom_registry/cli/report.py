"""``flowloom report RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flowloom_registry.cli.given import examples


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run, finished or not")
    parser.add_argument(
        "--of", metavar="NAME", help="report of RUN/evaluations/NAME (flowloom eval RUN --out NAME)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    examples(parser, "flowloom report runs/digits --open")


def run(args: argparse.Namespace) -> int:
    """Make the report anew from the files of the run."""
    from flowloom.errors import RunError
    from flowloom_registry.runs.folder import RunFolder
    from flowloom_registry.runs.report import write_report

    folder = RunFolder(args.run_folder)
    folder.status()
    if args.of is not None:
        folder = folder.beside(args.of)
        if not folder.evaluation.is_file():
            raise RunError(f"{args.run_folder} has no evaluation named {args.of!r}")
    with folder.locked():
        for problem in write_report(folder):
            print(f"warning: {problem}", file=sys.stderr)
    print(f"report: {folder.report}")
    if args.open:
        import webbrowser

        if not webbrowser.open(folder.report.resolve().as_uri()):
            print("no browser is found here; the report is one file for any of them", file=sys.stderr)
    return 0
