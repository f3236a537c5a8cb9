"""``flowloom check NAME``."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom.data import Dataset
    from flowloom.testing import CheckResult
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import Row

RECIPE = "recipe"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "name",
        help="a plugin, a component (NAME, PLUGIN:NAME, KIND/NAME), a class as ./file.py:Class, or a recipe "
        "(a YAML file, or recipe/NAME), whose parts are checked on its own data",
    )
    parser.add_argument(
        "--set",
        dest="arguments",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a constructor argument, over those of the component's example; a.b=value for a recipe",
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="what to check on: a data set's NAME, '{use: NAME, n: 64}', ./file.py:Class, or a recipe file",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything drawn (default: 0)")
    parser.add_argument("--slow", action="store_true", help="also run checks that take seconds")
    parser.add_argument("--verbose", action="store_true", help="list every check, passed ones too")


def run(args: argparse.Namespace) -> int:
    """Check, and print one line a component and one a failure; 1 where something failed."""
    from flowloom_registry.cli.given import require_seed
    from flowloom_registry.plugins.discovery import catalog
    from flowloom_registry.plugins.targets import require_class_name

    require_seed(args.seed)
    require_class_name(args.name, Path())
    found = catalog()
    recipe = _recipe_named(args.name, found)
    return _recipe(args, recipe, found) if recipe is not None else _components(args, found)


def _recipe_named(name: str, found: Catalog) -> str | None:
    """What `load_recipe` is to be asked for, where the name is that of a recipe."""
    if name.endswith((".yaml", ".yml")):
        return name
    kind, _, rest = name.rpartition("/")
    if kind == RECIPE:
        return rest
    plugins = [plugin.name for plugin in found.plugins]
    other = found.named(name) or name in plugins or kind
    return name if not other and any(recipe.name == name for recipe in found.recipes) else None


def _recipe(args: argparse.Namespace, name: str, found: Catalog) -> int:
    from flowloom.errors import FlowloomError
    from flowloom_registry.config.recipe import load_recipe
    from flowloom_registry.conformance import check_recipe

    if args.data is not None:
        raise FlowloomError("--data is for single components; a recipe has its own (--set data=...)")
    recipe = load_recipe(name, overrides=args.arguments, catalog=found)
    verdicts = check_recipe(recipe, seed=args.seed, slow=args.slow)
    return max([_told(label, results, args.verbose) for label, results in verdicts], default=0)


def _components(args: argparse.Namespace, found: Catalog) -> int:
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import settings
    from flowloom_registry.conformance import check_row
    from flowloom_registry.nearest import listing

    rows = _rows(args.name, found)
    arguments = settings(args.arguments)
    if arguments and len(rows) > 1:
        which = listing((row.label for row in rows), 4)
        raise FlowloomError(f"--set is for one component, and {args.name} means {which}")
    data = _data(args.data, found) if args.data is not None else None
    worst = 0
    for row in rows:
        results = check_row(row, found, arguments=arguments, data=data, seed=args.seed, slow=args.slow)
        worst = max(worst, _told(row.label if row.listed else args.name, results, args.verbose))
    return worst


def _rows(name: str, found: Catalog) -> list[Row]:
    """What a name means: rows, or the class that a file or module holds."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.nearest import did_you_mean, join_hints

    location, colon, attribute = name.rpartition(":")
    if colon and "." in location:
        if not attribute:
            raise FlowloomError(f"{name}: name the class after the colon")
        return [found.find(_kind(name, found), name)]
    rows = [r for r in found.rows if r.plugin.name == name] or found.named(name)
    if rows:
        return rows
    for broken in found.broken:
        if broken.plugin.name == name:
            raise UnknownComponentError(f"plugin {name} is broken: {broken.error}")
    known = [*(p.name for p in found.plugins), *(r.name for r in found.rows)]
    hint = join_hints(did_you_mean(name, known), "flowloom list shows all names")
    raise UnknownComponentError(f"there is no plugin or component named {name!r}; {hint}")


def _kind(reference: str, found: Catalog) -> str:
    """The kind whose contract the class keeps."""
    from torch import nn

    from flowloom.errors import FlowloomError
    from flowloom_registry.errors import PluginError
    from flowloom_registry.plugins.targets import load_target

    value = load_target(found.find("geometry", reference))
    if not inspect.isclass(value):
        raise FlowloomError(f"{reference} is not a class")
    for kind in found.kinds:
        try:
            contract = found.contract(kind)
        except PluginError:
            continue  # nothing that was imported can be derived from it
        if not getattr(contract, "_is_protocol", False) and issubclass(value, contract):
            return kind
    if issubclass(value, nn.Module):
        return "model"
    bases = ", ".join(found.kinds)
    raise FlowloomError(f"{reference} keeps no contract; derive it from the base class of a kind ({bases})")


def _data(word: str, found: Catalog) -> Dataset:
    """The data set that ``--data`` means."""
    from flowloom.errors import FlowloomError
    from flowloom_registry.cli.given import value
    from flowloom_registry.config.example import build_component
    from flowloom_registry.config.recipe import load_recipe

    place = f"--data {word}"
    if word.endswith((".yaml", ".yml")):
        from flowloom_registry.config.nodes import plain

        section = load_recipe(word, catalog=found).tree.get("data")
        if section is None:
            raise FlowloomError(f"{place}: the file has no section 'data'")
        given = plain(section)
    else:
        given = value(word, place)
    arguments = dict(given) if isinstance(given, dict) else {"use": given}
    name = arguments.pop("use", None)
    if not isinstance(name, str):
        raise FlowloomError(f"{place}: expected the name of a data set, or a mapping with 'use: NAME'")
    if isinstance(given, str):
        # A bare name stands for the row's own example, where it has one.
        row = found.find("dataset", name)
        arguments = dict(row.example)
    data: Dataset = build_component("dataset", name, arguments, catalog=found, place=place)
    return data


def _told(label: str, results: list[CheckResult], verbose: bool) -> int:
    from flowloom_registry.conformance import is_checked

    if not is_checked(results):
        print(f"{label}: not checked: {results[0].message}")
        return 0
    counts = {s: sum(r.status == s for r in results) for s in ("passed", "failed", "skipped", "expected")}
    print(f"{label}: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n), flush=True)
    for result in results:
        if result.status == "failed" or verbose:
            print(f"  {result.status:8} {result.name}" + (f": {result.message}" if result.message else ""))
    for why, laws in () if verbose else _skipped(results).items():
        print(f"  skipped  {', '.join(laws)}: {why}")
    return 1 if counts["failed"] else 0


def _skipped(results: list[CheckResult]) -> dict[str, list[str]]:
    """Why laws were skipped, and which: many share a reason."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.status == "skipped":
            found.setdefault(result.message, []).append(result.name)
    return found
