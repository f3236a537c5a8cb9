"""``flowloom compare RUN... | EXPERIMENT``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import count, examples, place


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders of finished runs, or one of an experiment",
    )
    parser.add_argument("--out", type=place, help="folder for results.csv and report.html (default: none)")
    parser.add_argument(
        "--blind",
        type=Path,
        metavar="FILE",
        help="a page of pairs from two runs, to choose between without knowing which is which",
    )
    parser.add_argument("-n", type=count, default=12, metavar="N", help="with --blind: pairs (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="with --blind: of samples and sides")
    parser.add_argument(
        "--trust", action="store_true", help="with --blind: run code that the recipes name by file or module"
    )
    parser.add_argument("--device", help="with --blind: cpu, cuda, cuda:1 ... (default: the best present)")
    examples(
        parser,
        "flowloom compare runs/digits runs/digits-meanflow",
        "flowloom compare runs/speak-digits runs/felle-digits --blind listen.html",
    )


def run(args: argparse.Namespace) -> int:
    """Print the results of what is there, training nothing."""
    from flowloom.errors import RunError
    from flowloom_registry.studies.folder import StudyFolder
    from flowloom_registry.studies.results import read_results, read_runs
    from flowloom_registry.studies.table import print_results

    if args.blind is not None:
        return _blind(args)
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


def _blind(args: argparse.Namespace) -> int:
    """Write the page of pairs."""
    from flowloom.errors import RunError
    from flowloom_registry.cli.given import require_seed
    from flowloom_registry.runs.blind import blind_page, blind_pairs
    from flowloom_registry.runs.folder import write_text
    from flowloom_registry.runs.open import pick_device

    if len(args.paths) != 2:
        raise RunError(f"--blind wants two runs, got {len(args.paths)}")
    if args.blind.is_dir():
        raise RunError(f"--blind {args.blind} is a folder; name a file, such as {args.blind / 'blind.html'}")
    require_seed(args.seed)
    device = pick_device(args.device)
    first, second = args.paths
    pairs = blind_pairs(first, second, args.n, seed=args.seed, trust=args.trust, device=device)
    write_text(args.blind, blind_page(pairs, (str(first), str(second))))
    print(f"{len(pairs)} pairs: {args.blind}")
    return 0
