"""``flowloom pull REPO FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import examples, place


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository on the Hugging Face hub")
    parser.add_argument("out", type=place, nargs="?", metavar="FOLDER", help="default: runs/NAME")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    parser.add_argument("--sha256", help="of its manifest, as its author's push has printed it")
    examples(parser, "flowloom pull me/digits-flow", "flowloom pull me/digits-flow runs/theirs --revision v1")


def run(args: argparse.Namespace) -> int:
    """Download the run."""
    from flowloom_registry.cli.push import require_hub
    from flowloom_registry.delivery.hub import pull, require_name

    require_name(args.repo)
    require_hub()
    out = args.out or Path("runs") / args.repo.rpartition("/")[2]
    pull(args.repo, out, revision=args.revision, sha256=args.sha256)
    print(f"{out}\nnext:   flowloom sample {out} -n 16")
    return 0
