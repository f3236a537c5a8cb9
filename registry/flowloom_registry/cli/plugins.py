"""``flowloom plugins [--verbose]``."""

from __future__ import annotations

import argparse

from flowloom_registry.cli.columns import columns


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--verbose",
        "-v",
        action="store_true",
        help="show tracebacks of broken plugins, and what plugins miss",
    )


def run(args: argparse.Namespace) -> int:
    """Print the installed plugins; the exit code is 0 even where one is broken."""
    from flowloom_registry.errors import one_line
    from flowloom_registry.plugins.discovery import catalog

    found = catalog()
    table = [("plugin", "distribution", "version", "components", "recipes")]
    for plugin in found.plugins:
        components = sum(row.plugin == plugin for row in found.rows)
        recipes = sum(recipe.plugin == plugin for recipe in found.recipes)
        table.append((plugin.name, plugin.distribution, plugin.version, str(components), str(recipes)))
    print("\n".join(columns(table)))
    for rows in found.collisions():
        print(f"{rows[0].label} is provided by several; write {' or '.join(row.qualified for row in rows)}")
    for broken in found.broken:
        where = " ".join(filter(None, (broken.plugin.distribution, broken.plugin.version)))
        print(f"broken: {broken.plugin.name}{f' ({where})' if where else ''}: {broken.error}")
        if args.verbose:
            print(broken.trace.rstrip())
    if args.verbose:
        for name, findings in found.call_each("flowloom_doctor"):
            if isinstance(findings, BaseException):
                findings = [f"its own check fails: {one_line(findings)}"]
            for finding in findings or ():
                print(f"doctor: {name}: {finding}")
    return 0
