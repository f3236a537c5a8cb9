"""The page ``docs/contracts.md``, made by ``python -m flowloom_registry.reference.page FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flowloom_registry.reference.markdown import markdown
from flowloom_registry.reference.outline import Member, Outline, outline, outline_of_class

if TYPE_CHECKING:
    from flowloom.kinds import Kind
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.sections import Section
    from flowloom_registry.reference.names import Definition

_HEAD = """# Contracts

*Made from the docstrings by `python -m flowloom_registry.reference.page docs/contracts.md`; a test compares.
The same texts, those of plugins' kinds included, are shown by `flowloom show NAME`: a kind, a section, a
record, or any other class, method or function.*

Conventions: t in [0, 1]; x0 ~ source at t=0, x1 ~ data at t=1; velocity = dx/dt; shapes `(batch, *event)`."""


def contracts_page() -> str:
    """The page: every kind of core with its contract and laws, every record, every section of a recipe."""
    from flowloom_registry.plugins.discovery import discover
    from flowloom_registry.reference.names import definitions
    from flowloom_registry.reference.records import RECORDS

    # Core alone: the page is the same whatever is installed beside it.
    found = discover(
        entry_points=(), extra={"core": import_module("flowloom_registry.plugins.builtin")}, strict=True
    )
    known = {one.target: one for one in definitions(["flowloom", "flowloom_registry"])}
    blocks = [_HEAD, "\n".join(_contents(found)), "# Kinds"]
    for kind in found.kinds.values():
        blocks += _kind(found, kind)
    for group, targets in RECORDS.items():
        blocks.append(f"# {group}")
        for target in targets:
            blocks += _record(found, known[target])
    blocks.append("# Sections of a recipe")
    for section in found.sections.values():
        blocks += _section(section)
    return "\n\n".join(blocks) + "\n"


def _contents(found: Catalog) -> Iterator[str]:
    from flowloom_registry.reference.standing import places_of_kind

    yield "| kind | contract | what it is | in a recipe |"
    yield "|---|---|---|---|"
    for kind in found.kinds.values():
        places = ", ".join(f"`{place}`" for place in places_of_kind(found, kind.name))
        contract = kind.contract.replace(":", ".")
        yield f"| [{kind.name}](#kind-{kind.name}) | `{contract}` | {kind.meaning} | {places} |"


def _kind(found: Catalog, kind: Kind) -> Iterator[str]:
    from flowloom_registry.reference.standing import laws_of, places_of_kind

    yield f"## Kind {kind.name}"
    places = ", ".join(f"`{place}`" for place in places_of_kind(found, kind.name))
    yield f"{kind.meaning[0].upper()}{kind.meaning[1:]}. In a recipe: {places or 'nowhere'}."
    yield from _outline(outline_of_class(found.contract(kind.name)))
    laws = laws_of(kind.laws)
    if laws:
        yield f"Laws (`{kind.laws}`):"
        yield "\n".join(f"* `{name}`: {markdown(says)}" for name, says in laws.items())


def _record(found: Catalog, one: Definition) -> Iterator[str]:
    from flowloom_registry.reference.standing import places_of_record

    yield f"## {one.name}"
    told = outline(one)
    places = places_of_record(found, getattr(import_module(one.module), one.name))
    if places:
        yield f"In a recipe: {', '.join(f'`{place}`' for place in places)}."
    yield from _outline(told)


def _section(section: Section) -> Iterator[str]:
    yield f"## Section {section.name}"
    says = [f"{section.meaning[0].upper()}{section.meaning[1:]}."]
    if section.kind is not None:
        says.append(f"Form: {section.form}, of kind [{section.kind}](#kind-{section.kind}).")
    elif section.target is not None:
        record = section.target.rpartition(":")[2]
        says.append(f"Form: record, `{record}`.")
    else:
        says.append(f"Form: {section.form}.")
    if section.chosen is not None:
        says.append(
            f"Chosen by the {'spec of the data' if section.chosen == 'spec' else 'geometry'} where left out."
        )
    elif section.default is not None:
        says.append(f"`{section.default}` where left out.")
    if section.always:
        says.append("Never null.")
    yield " ".join(says)
    if section.target is not None and not section.target.startswith("flowloom.training"):
        from flowloom_registry.plugins.targets import load_attribute

        yield from _outline(outline_of_class(load_attribute(section.target)))


def _outline(told: Outline) -> Iterator[str]:
    yield f"`{told.home}`" + (f" `class {told.title}`" if "(" in told.title else "")
    if told.signature:
        yield f"```text\n{_lines(told.signature)}\n```"
    if told.doc:
        yield markdown(told.doc)
    for heading, members in (
        ("**To write**", [one for one in told.members if one.asked]),
        ("**Attributes**", [one for one in told.members if one.attribute and not one.asked]),
        ("**Methods**", [one for one in told.members if not one.attribute and not one.asked]),
    ):
        if members:
            yield heading
            yield "\n".join(line for one in members for line in _member(one))
    if len(told.about.splitlines()) > 1:
        yield f"*Its module:* {markdown(told.about)}"


def _member(one: Member) -> Iterator[str]:
    call = (f"{one.name}: {one.signature}" if one.signature else one.name) if one.attribute else one.signature
    said = markdown(one.doc).splitlines()
    yield f"* `{call}`" + (f"  \n  {said[0]}" if said else "")
    yield from (f"  {line}".rstrip() for line in said[1:])


def _lines(call: str) -> str:
    from flowloom_registry.reference.outline import folded

    return "\n".join(folded(call))


def main(words: list[str]) -> int:
    """Write the page to a file, or print it."""
    page = contracts_page()
    if words:
        Path(words[0]).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
