"""``flowloom show NAME``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from flowloom_registry.cli.columns import columns

if TYPE_CHECKING:
    from flowloom_registry.config.signature import Parameter
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import RecipeRow, Row
    from flowloom_registry.plugins.sections import Section


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "name", help="a component or recipe: NAME, PLUGIN:NAME or KIND/NAME, where several share a name"
    )


def run(args: argparse.Namespace) -> int:
    """Print everything known under the name."""
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.plugins.discovery import catalog

    found = catalog()
    rows = found.named(args.name)
    kind, _, reference = args.name.rpartition("/")
    plugin, _, bare = reference.rpartition(":")
    recipes = [
        recipe
        for recipe in found.recipes
        if recipe.name == bare and plugin in ("", recipe.plugin.name) and kind in ("", "recipe")
    ]
    section = found.sections.get(args.name)
    if not rows and not recipes and section is not None and section.target is not None:
        print("\n".join(_section(found, section)))
        return 0
    if not rows and not recipes:
        raise UnknownComponentError(_unknown(found, args.name))
    for i, row in enumerate(rows):
        print("\n".join(["", *_component(found, row)][i == 0 :]))
    for i, recipe in enumerate(recipes):
        print("\n".join(["", *_recipe(recipe)][not rows and i == 0 :]))
    return 0


def _component(found: Catalog, row: Row) -> list[str]:
    from flowloom_registry.cli.docstring import argument_lines, first_line
    from flowloom_registry.config.bind import Binder
    from flowloom_registry.config.scope import Scope
    from flowloom_registry.config.signature import NOTHING, read_signature

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
    if doc := first_line(target):
        lines.append(f"  {doc}")
    signature = read_signature(target)
    homes = {part.name: str(part.kind) for part in found.sections.values() if part.form == "component"}
    current = next((name for name, kind in homes.items() if kind == row.kind), "")
    # Every section is taken as present, to tell what a recipe could fill.
    binder = Binder(found, Scope(homes, homes, current, "data" if row.kind != "dataset" else None), [])
    says = argument_lines(target)
    table = [_parameter(one, binder, says.get(one.name, "")) for one in signature.parameters.values()]
    if signature.rest is not NOTHING:
        table.append(("**", "any further argument", "", ""))
    lines.append("  parameters:" if table else "  takes no parameters")
    return lines + columns(table, indent="    ", whole=True)


def _section(found: Catalog, section: Section) -> list[str]:
    """A section of settings, such as ``train``: its fields."""
    from flowloom_registry.cli.docstring import argument_lines
    from flowloom_registry.config.bind import Binder
    from flowloom_registry.config.scope import Scope
    from flowloom_registry.config.signature import read_signature
    from flowloom_registry.plugins.targets import load_attribute

    target = load_attribute(str(section.target))
    says, binder = argument_lines(target), Binder(found, Scope({}, {}, "", None), [])
    fields = read_signature(target).parameters.values()
    table = [_parameter(one, binder, says.get(one.name, "")) for one in fields]
    return [f"section {section.name}: {section.meaning}", *columns(table, indent="    ", whole=True)]


def _parameter(parameter: Parameter, binder: object, says: str) -> tuple[str, str, str, str]:
    from flowloom_registry.config.annotations import describe
    from flowloom_registry.config.bind import Binder

    assert isinstance(binder, Binder)
    source = binder.injection(parameter)
    if source is not None:
        default = "from the data" if source.spec else f"from section '{source}'"
        if not parameter.required:
            default += f", else {_default(parameter.default)}"
    else:
        default = "required" if parameter.required else f"= {_default(parameter.default)}"
    spec = source is not None and source.spec
    form = "a spec" if spec else describe(parameter.annotation, binder.kind_of)
    return parameter.name, form, default, says


def _default(value: object) -> str:
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _recipe(recipe: RecipeRow) -> list[str]:
    from flowloom_registry.config.recipe import recipe_text

    file, text = recipe_text(recipe)
    lines = [f"# recipe/{recipe.name}: {recipe.summary}", f"# plugin {recipe.plugin.name}, file {file}"]
    if recipe.paper:
        lines.append(f"# paper arXiv:{recipe.paper}")
    return [*lines, text.decode("utf-8", "replace").rstrip()]


def _unknown(found: Catalog, name: str) -> str:
    from flowloom_registry.nearest import join_hints

    if name in found.kinds:
        return f"{name!r} is a kind of component; 'flowloom list {name}' shows those there are"
    first, _, last = name.rpartition("/")
    if last in found.kinds and found.named(f"{last}/{first}"):
        return f"no component is named {name!r}; the kind comes first: flowloom show {last}/{first}"
    near = found.nearest_named(name.rpartition("/")[2].rpartition(":")[2])
    hint = join_hints(
        f"did you mean {' or '.join(map(repr, near))}?" if near else "",
        "'flowloom list' shows all of them",
    )
    broken = "".join(
        f"; plugin {b.plugin.name!r} is broken and was not searched ({b.error})" for b in found.broken
    )
    return f"no component or recipe is named {name!r}; {hint}{broken}"
