"""``flowloom push RUN REPO``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import examples


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository on the Hugging Face hub")
    parser.add_argument("--private", action="store_true", help="make it private, where it is new")
    parser.add_argument("--message", default="", help="of the commit")
    parser.add_argument("--revision", help="branch (default: main)")
    parser.add_argument("--card", action="store_true", help="print the model card, and push nothing")
    examples(parser, "flowloom push runs/digits me/digits-flow", "flowloom push runs/digits me/x --card")


def run(args: argparse.Namespace) -> int:
    """Upload the run with its card."""
    from flowloom_registry.delivery.card import card
    from flowloom_registry.delivery.hub import push, require_name
    from flowloom_registry.runs.folder import RunFolder

    require_name(args.repo)
    folder = RunFolder(args.run_folder)
    if args.card:
        print(card(folder, args.repo))
        return 0
    require_hub()
    url, digest = push(folder, args.repo, private=args.private, message=args.message, revision=args.revision)
    print(f"{url}\nfor others: flowloom pull {args.repo} --sha256 {digest}")
    return 0


def require_hub() -> None:
    """Ask for the package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    from importlib.util import find_spec

    from flowloom.errors import MissingDependencyError

    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError(
            "the hub needs the package 'huggingface_hub'; pip install 'flowloom[hub]'"
        )
