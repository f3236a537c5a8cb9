"""``flowloom verify [SYSTEM...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flowloom_registry.cli.given import count, place

_PAGE = Path("docs/systems.md")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "systems",
        nargs="*",
        metavar="SYSTEM",
        help="ids of systems, names of recipes, or recipe files (default: every claim of what is installed)",
    )
    parser.add_argument(
        "--open", action="store_true", help="only claims that the page has no verdict of, or an outdated one"
    )
    parser.add_argument("--seeds", metavar="SEEDS", help="in place of the claims' own: 3,4,5 or 3-5")
    parser.add_argument(
        "--out", type=place, default=Path("claims"), help="folder of the runs (default: claims)"
    )
    parser.add_argument(
        "--jobs", type=count, default=1, help="runs at a time, each in a process (default: 1)"
    )
    parser.add_argument(
        "--page",
        type=Path,
        help="page of all systems to write (default: docs/systems.md where it is there, else OUT/systems.md)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the best one present)")


def run(args: argparse.Namespace) -> int:
    """Decide claims, one line each; 1 where one does not hold or is not decided."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import seeds
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.studies.ledger import Ledger
    from flowloom_registry.studies.verify import Decided, find_claims, verify

    found = catalog()
    given = seeds(args.seeds)
    claims = find_claims(args.systems, found)
    if not claims:
        raise FlowloomError(
            f"no recipe claims anything of {', '.join(args.systems) or 'what is installed'} yet"
        )
    page: Path = args.page or (_PAGE if _PAGE.is_file() else args.out / _PAGE.name)
    ledger = Ledger(page, find_claims((), found), found)
    claims = ledger.open(claims) if args.open else claims

    def told(one: Decided) -> None:
        print(one, flush=True)
        if given is None:  # the page tells of the claims' own seeds
            ledger.write([one])

    try:
        decided = verify(
            claims,
            args.out,
            seeds=given,
            jobs=args.jobs,
            device=args.device,
            catalog=found,
            told=told,
            seconds=ledger.seconds(),
        )
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        raise
    ledger.write([])
    if given is not None:
        print(f"page: {page} (nothing of --seeds is kept: it tells of the claims' own)")
    elif not all(ledger.keeps(claim) for claim in claims):
        print(f"page: {page} (of installed recipes alone; verdicts of a file stand above)")
    else:
        print(f"page: {page}")
    return 0 if all(one.holds for one in decided) else 1
