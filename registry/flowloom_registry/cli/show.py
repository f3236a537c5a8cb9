"""``flowloom show [NAME]``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import ExperimentRow, RecipeRow, Row


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        help="a component or recipe (NAME, PLUGIN:NAME or KIND/NAME, where several share a name), a kind, a "
        "section of a recipe, or any class, method or function by its Python name (Layout, Layout.zero); "
        "kinds, sections and records are listed where it is left out",
    )


def run(args: argparse.Namespace) -> int:
    """Print everything known under the name."""
    from flowloom_registry.cli import told
    from flowloom_registry.cli.lookup import look_up
    from flowloom_registry.plugins.discovery import catalog

    found = catalog()
    if args.name is None:
        print("\n".join(told.overview(found)))
        return 0
    meant = look_up(found, args.name)
    blocks = [_component(found, row) for row in meant.rows]
    blocks += [_file(row) for row in meant.recipes]
    blocks += [told.of_kind(found, kind) for kind in meant.kinds]
    blocks += [told.of_section(found, section, meant.member) for section in meant.sections]
    blocks += [told.of_definition(found, one, meant.member) for one in meant.definitions]
    print(told.joined(blocks))
    return 0


def _component(found: Catalog, row: Row) -> list[str]:
    from flowloom_registry.cli.parameters import parameter_lines
    from flowloom_registry.reference.docstring import text_and_arguments
    from flowloom_registry.reference.standing import places_of_kind, sections_holding

    version = f" {row.plugin.version}" if row.plugin.version else ""
    lines = [
        f"{row.label}: {row.summary}",
        f"  plugin  {row.plugin.name}{version}",
        f"  target  {row.target}",
    ]
    if row.paper:
        lines.append(f"  paper   arXiv:{row.paper}")
    if row.tags:
        lines.append(f"  tags    {', '.join(row.tags)}")
    target = found.load(row)
    lines += [f"  recipe  {place.replace('NAME', row.name)}" for place in places_of_kind(found, row.kind)]
    lines += [f"  {line}".rstrip() for line in text_and_arguments(target)[0]]
    section = next((one.name for one in sections_holding(found, row.kind) if one.form == "component"), "")
    return lines + parameter_lines(found, target, section, of_data=row.kind == "dataset")


def _file(row: RecipeRow | ExperimentRow) -> list[str]:
    from flowloom_registry.config.recipe import recipe_text

    file, text = recipe_text(row)
    lines = [f"# {row.kind}/{row.name}: {row.summary}", f"# plugin {row.plugin.name}, file {file}"]
    if row.paper:
        lines.append(f"# paper arXiv:{row.paper}")
    return [*lines, text.decode("utf-8", "replace").rstrip()]
