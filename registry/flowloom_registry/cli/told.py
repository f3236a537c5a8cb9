"""The lines that ``flowloom show`` prints of a kind, a section, a class or a function. Nothing is cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flowloom_registry.cli.columns import aligned
from flowloom_registry.reference.outline import folded

if TYPE_CHECKING:
    from flowloom.kinds import Kind
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.sections import Section
    from flowloom_registry.reference.names import Definition
    from flowloom_registry.reference.outline import Member, Outline


def of_kind(found: Catalog, kind: Kind) -> list[str]:
    """A kind: what it is, where it stands in recipes, its contract, its laws, its components."""
    from flowloom_registry.reference.outline import outline_of_class
    from flowloom_registry.reference.standing import laws_of, places_of_kind, sections_holding

    lines = [f"kind/{kind.name}: {kind.meaning}", f"  contract  {kind.contract}"]
    lines += [f"  recipe    {place}" for place in places_of_kind(found, kind.name)]
    for section in sections_holding(found, kind.name):
        lines.append(f"  {section.name}: {section.meaning}; {_left_out(section)}")
    rows = found.of_kind(kind.name)
    names = sorted(row.name for row in rows)
    lines += ["", *outline_lines(outline_of_class(found.contract(kind.name)))]
    laws = laws_of(kind.laws)
    if laws:
        lines += ["", f"laws ({kind.laws}; 'flowloom check NAME' holds a component to them):"]
        lines += [line for name, says in laws.items() for line in (f"  {name}", f"      {says}")]
    lines += ["", f"components ('flowloom list {kind.name}' says what each is):"]
    return [*lines, f"  {', '.join(names) or 'none installed'}"]


def of_section(found: Catalog, section: Section, field: str = "") -> list[str]:
    """A section: what it holds, what stands there when it is left out, and the fields of a record, or one."""
    from flowloom_registry.cli.parameters import parameter_lines
    from flowloom_registry.plugins.targets import load_attribute
    from flowloom_registry.reference.docstring import text_and_arguments

    lines = [f"section/{section.name}: {section.meaning}", f"  holds     {_holds(section)}"]
    lines.append(f"  absent    {_left_out(section)}")
    if section.target is not None:
        record = load_attribute(section.target)
        lines.append(f"  record    {section.target}")
        lines += [f"  {line}".rstrip() for line in text_and_arguments(record)[0] if not field]
        lines += parameter_lines(found, record, section="", only=field)
    if section.kind is not None:
        lines += ["", *of_kind(found, found.kind(section.kind))]
    return lines


def of_definition(found: Catalog, one: Definition, member: str = "") -> list[str]:
    """A class, function or alias; or one member of a class."""
    import ast

    from flowloom_registry.reference.outline import outline
    from flowloom_registry.reference.standing import places_of_record

    told = outline(one)
    chosen = next((known for known in told.members if known.name == member), None)
    if chosen is not None:
        return [f"{one.name}.{member}", f"  module  {told.home}", "", *member_lines(chosen, one.name)]
    head = [told.title, f"  module  {told.home}"]
    head += [f"  use     {row.kind}: {row.name}" for row in found.rows if _same(row.target, one)]
    if isinstance(one.node, ast.ClassDef):
        head += [f"  recipe  {place}" for place in places_of_record(found, _made(one))]
    return [*head, "", *outline_lines(told, with_head=False)]


def outline_lines(told: Outline, *, with_head: bool = True) -> list[str]:
    """All of an outline."""
    lines = [told.title, f"  module  {told.home}", ""] if with_head else []
    if told.signature:
        lines += [*folded(told.signature), ""]
    lines += told.doc.splitlines() or ["(no text of its own)"]
    for heading, members in (
        ("to write:", [one for one in told.members if one.asked]),
        ("attributes:", [one for one in told.members if one.attribute and not one.asked]),
        ("methods:", [one for one in told.members if not one.attribute and not one.asked]),
    ):
        if members:
            lines += ["", heading]
            owner = told.title.partition("(")[0]
            lines += [f"  {line}".rstrip() for one in members for line in member_lines(one, owner)]
    if told.about:
        lines += [
            "",
            f"its module, {told.home}:",
            *(f"  {line}".rstrip() for line in told.about.splitlines()),
        ]
    return lines


def member_lines(one: Member, owner: str) -> list[str]:
    """One member: how it is called, and all that its docstring says."""
    call = (f"{one.name}: {one.signature}" if one.signature else one.name) if one.attribute else one.signature
    inherited = f"   (from {one.owner})" if one.owner != owner else ""
    lines = folded(call)
    lines[-1] += inherited
    return [*lines, *(f"    {line}".rstrip() for line in one.doc.splitlines())]


def overview(found: Catalog) -> list[str]:
    """Every kind, section and record by name."""
    from flowloom_registry.reference.names import definitions, named
    from flowloom_registry.reference.records import RECORDS

    known = definitions(["flowloom", "flowloom_registry"])
    ones = {target: named(known, target) for targets in RECORDS.values() for target in targets}
    says = {target: one.doc.partition("\n")[0] for target, one in ones.items() if one is not None}
    lines = ["kinds of components, each with the contract that its members keep:"]
    lines += aligned(
        [(k.name, k.contract.rpartition(":")[2], k.meaning) for k in found.kinds.values()], indent="  "
    )
    lines += ["", "sections of a recipe:"]
    lines += aligned([(one.name, _holds(one), one.meaning) for one in found.sections.values()], indent="  ")
    lines += ["", "records and helpers:"]
    for group, targets in RECORDS.items():
        lines.append(f"  {group}")
        lines += aligned([(t.rpartition(":")[2], says.get(t, "")) for t in targets], indent="    ")
    return [*lines, "", "'flowloom show NAME' tells all of one; so of any other class or function."]


def _same(target: str, one: Definition) -> bool:
    place, _, name = target.rpartition(":")
    return name == one.name and (one.module == place or one.module.startswith(f"{place}."))


def _made(one: Definition) -> object:
    import sys

    return getattr(sys.modules.get(one.module), one.name, None)


def _holds(section: Section) -> str:
    kind = section.kind or ""
    return {
        "component": f"one {kind}",
        "components": f"a list of {kind}",
        "named": f"a mapping of names to {kind}",
        "record": f"a record ({(section.target or '').rpartition(':')[2]})",
        "claims": "a list of claims, which 'flowloom verify' decides",
        "meta": "what the loader reads itself",
    }.get(section.form, section.form)


def _left_out(section: Section) -> str:
    if section.chosen is not None:
        absent = (
            f"chosen by the {'spec of the data' if section.chosen == 'spec' else 'geometry'} where left out"
        )
    elif section.default is not None:
        absent = f"{section.default} where left out"
    elif section.required:
        absent = "required"
    elif section.form == "record":
        absent = "defaults where left out"
    else:
        absent = "nothing where left out"
    return f"{absent}, never null" if section.always else absent


def joined(blocks: Iterable[list[str]]) -> str:
    """Blocks with an empty line between them."""
    return "\n\n".join("\n".join(block) for block in blocks)
