"""``flowloom check NAME``."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom.testing import CheckResult
    from flowloom_registry.plugins.catalog import Catalog


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "name", help="a plugin, a component (NAME, PLUGIN:NAME, KIND/NAME), or a class as ./file.py:Class"
    )
    parser.add_argument(
        "--set",
        dest="arguments",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a constructor argument, over those of the component's example",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything drawn (default: 0)")
    parser.add_argument("--slow", action="store_true", help="also run checks that take seconds")
    parser.add_argument("--verbose", action="store_true", help="list every check, passed ones too")


def run(args: argparse.Namespace) -> int:
    """Check, and print one line a component and one a failure; 1 where something failed."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import require_seed, settings
    from flowloom_registry.conformance import check_row
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.nearest import did_you_mean, join_hints, listing
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.plugins.targets import require_class_name

    require_seed(args.seed)
    require_class_name(args.name, Path())
    found = catalog()
    if ":" in args.name and ("." in args.name.rpartition(":")[0]):
        return _told(args.name, _check_class(args, found), args.verbose)
    rows = [r for r in found.rows if r.plugin.name == args.name] or found.named(args.name)
    if not rows:
        for broken in found.broken:
            if broken.plugin.name == args.name:
                raise UnknownComponentError(f"plugin {args.name} is broken: {broken.error}")
        known = [*(p.name for p in found.plugins), *(r.name for r in found.rows)]
        hint = join_hints(did_you_mean(args.name, known), "flowloom list shows all names")
        raise UnknownComponentError(f"there is no plugin or component named {args.name!r}; {hint}")
    arguments = settings(args.arguments)
    if arguments and len(rows) > 1:
        which = listing((row.label for row in rows), 4)
        raise FlowloomError(f"--set is for one component, and {args.name} means {which}")
    return max(
        _told(
            row.label,
            check_row(row, found, arguments=arguments, seed=args.seed, slow=args.slow),
            args.verbose,
        )
        for row in rows
    )


def _check_class(args: argparse.Namespace, found: Catalog) -> list[CheckResult]:
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import settings
    from flowloom_registry.conformance import check_target

    if args.name.endswith(":"):
        raise FlowloomError(f"{args.name}: name the class after the colon")
    arguments = settings(args.arguments)
    kind = _kind(args.name, found)
    # A relative file is one of the working directory here, and not of some recipe's folder.
    file, _, attribute = args.name.rpartition(":")
    reference = f"{Path(file).resolve()}:{attribute}" if file.endswith(".py") else args.name
    return check_target(kind, reference, arguments, found, seed=args.seed, slow=args.slow)


def _kind(reference: str, found: Catalog) -> str:
    """The kind whose contract the class keeps."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.plugins.targets import load_target

    row = found.find("geometry", reference)
    value = load_target(row)
    if not inspect.isclass(value):
        raise FlowloomError(f"{reference} is not a class")
    from torch import nn

    for kind in found.kinds:
        contract = found.contract(kind)
        if not getattr(contract, "_is_protocol", False) and issubclass(value, contract):
            return kind
    if issubclass(value, nn.Module):
        return "model"
    bases = ", ".join(found.kinds)
    raise FlowloomError(f"{reference} keeps no contract; derive it from the base class of a kind ({bases})")


def _told(label: str, results: list[CheckResult], verbose: bool) -> int:
    counts = {s: sum(r.status == s for r in results) for s in ("passed", "failed", "skipped", "expected")}
    print(f"{label}: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n))
    for result in results:
        if result.status == "failed" or verbose:
            print(f"  {result.status:8} {result.name}" + (f": {result.message}" if result.message else ""))
    return 1 if counts["failed"] else 0
