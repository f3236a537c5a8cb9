"""``flowloom list [KIND] [--plugin P]``."""

from __future__ import annotations

import argparse

from flowloom_registry.cli.columns import columns, warn_of_broken

RECIPE, EXPERIMENT = "recipe", "experiment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "kind", nargs="?", help="a kind of component, 'recipe' or 'experiment'; all when left out"
    )
    parser.add_argument("--plugin", metavar="P", help="only what this plugin provides")


def run(args: argparse.Namespace) -> int:
    """Print a table for each kind."""
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.nearest import did_you_mean, join_hints
    from flowloom_registry.plugins.discovery import catalog

    found = catalog()
    warn_of_broken()
    names = [plugin.name for plugin in found.plugins]
    if args.plugin is not None and args.plugin not in names:
        hint = join_hints(did_you_mean(args.plugin, names), f"plugins: {', '.join(names)}")
        raise UnknownComponentError(f"no plugin is named {args.plugin!r}; {hint}")
    kind = args.kind.removesuffix("s") if args.kind not in found.kinds and args.kind else args.kind
    if kind not in (None, RECIPE, EXPERIMENT) and kind not in found.kinds:
        kinds = [*found.kinds, RECIPE, EXPERIMENT]
        hint = join_hints(did_you_mean(args.kind, kinds), f"kinds: {', '.join(kinds)}")
        raise UnknownComponentError(f"no kind of component is named {args.kind!r}; {hint}")
    clashing = {row.label for rows in found.collisions() for row in rows}
    sections: list[tuple[str, str, list[tuple[str, str, str]]]] = []
    for name, meaning in ((one.name, one.meaning) for one in found.kinds.values()):
        if kind in (None, name):
            table = [
                (row.qualified if row.label in clashing else row.name, row.plugin.name, row.summary)
                for row in found.of_kind(name)
                if args.plugin in (None, row.plugin.name)
            ]
            sections.append((name, meaning, table))
    for name, meaning in ((RECIPE, "a whole run, ready to start"), (EXPERIMENT, "many runs, compared")):
        if kind in (None, name):
            table = [
                (row.name, row.plugin.name, row.summary)
                for row in sorted(found.files, key=lambda row: row.name)
                if row.kind == name and args.plugin in (None, row.plugin.name)
            ]
            sections.append((name, meaning, table))
    shown = [section for section in sections if section[2] or kind is not None]
    for i, (name, meaning, table) in enumerate(shown):
        print(f"{'' if i == 0 else chr(10)}{name}  ({meaning})")
        print("\n".join(columns(table, indent="  ")) if table else "  none installed")
    return 0
