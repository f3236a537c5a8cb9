"""``flowloom new plugin NAME``."""

from __future__ import annotations

import argparse
from pathlib import Path

from flowloom_registry.cli.given import place


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", choices=["plugin"], help="what to write")
    parser.add_argument("name", help="lower-case word such as 'proteins'; the package is flowloom-NAME")
    parser.add_argument(
        "--into",
        type=place,
        default=Path(),
        metavar="DIR",
        help="folder in which to write it (default: here)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the package and say what to do next."""
    from flowloom_registry.scaffold import write_plugin

    folder = write_plugin(args.name, args.into)
    print(f"wrote {folder}")
    print("next:")
    print(f"  pip install -e {folder}")
    print(f"  pytest {folder}")
    print(f"  flowloom list --plugin {args.name}")
    return 0
