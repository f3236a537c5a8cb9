"""What a name on the command line means: components, recipes, kinds, sections, classes, functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom.kinds import Kind
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import ExperimentRow, RecipeRow, Row
    from flowloom_registry.plugins.sections import Section
    from flowloom_registry.reference.names import Definition


@dataclass
class Meant:
    """Everything that one name means.

    Args:
        rows: components.
        recipes: recipes and experiments.
        kinds: kinds, each with its contract.
        sections: sections of a recipe.
        definitions: classes, functions and aliases that are none of these.
        member: method, attribute or field of them that is asked for, empty for all.
    """

    rows: list[Row] = field(default_factory=list)
    recipes: list[RecipeRow | ExperimentRow] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    member: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows or self.recipes or self.kinds or self.sections or self.definitions)


def look_up(found: Catalog, name: str) -> Meant:
    """What ``name`` means.

    Words of recipes come first (``heun``, ``images:unet``, ``solver/heun``, a recipe, a kind, a section or a
    field of it, ``train.lr``); then names of Python: a class, function or alias (``Layout``,
    ``flowloom.layout.Layout``), or a member of a class (``Layout.zero``), in any
    case where nothing is spelt so.

    Raises:
        UnknownComponentError: nothing has that name; the message gives the nearest ones.
    """
    meant = _of_recipes(found, name)
    if meant:
        return meant
    meant = _of_python(found, name)
    if meant:
        return meant
    from flowloom_registry.errors import UnknownComponentError

    raise UnknownComponentError(_unknown(found, name))


def _of_recipes(found: Catalog, name: str) -> Meant:
    kind, _, reference = name.rpartition("/")
    plugin, _, bare = reference.rpartition(":")
    recipes = [
        row
        for row in found.files
        if row.name == bare and plugin in ("", row.plugin.name) and kind in ("", row.kind)
    ]
    kinds = [one for one in found.kinds.values() if name in (one.name, f"kind/{one.name}")]
    sections = [
        one
        for one in found.sections.values()
        if name in (one.name, f"section/{one.name}") and one.kind not in [kind.name for kind in kinds]
    ]
    meant = Meant(found.named(name), recipes, kinds, sections)
    head, _, last = name.partition(".")
    section = found.sections.get(head)
    if last and not meant and section is not None and last in _fields(section):
        return Meant(sections=[section], member=last)
    return meant


def _fields(section: Section) -> list[str]:
    from flowloom_registry.config.signature import read_signature
    from flowloom_registry.plugins.targets import load_attribute

    return list(read_signature(load_attribute(section.target)).parameters) if section.target else []


def _of_python(found: Catalog, name: str) -> Meant:
    from flowloom_registry.reference.names import definitions, packages_of

    known = [one for one in definitions(packages_of(found)) if ".cli" not in one.module]
    dotted = name.replace(":", ".")
    for fold in (str, str.lower):
        hits = [one for one in known if _is(fold(dotted), fold(one.module), fold(one.name))]
        member = ""
        if not hits and "." in dotted:
            owner, _, member = dotted.rpartition(".")
            hits = [one for one in known if _is(fold(owner), fold(one.module), fold(one.name))]
            _require_member(name, member, hits)
            hits = [one for one in hits if member in _members(one)]
        if hits:
            return _with_kinds(found, Meant(definitions=hits, member=member))
    return Meant()


def _is(dotted: str, module: str, name: str) -> bool:
    """Whether ``dotted`` names it, perhaps from a package that hands it on (``flowloom.data.Dataset``)."""
    place, _, last = dotted.rpartition(".")
    return last == name and (not place or f".{place}." in f".{module}.")


def _members(one: Definition) -> list[str]:
    import ast

    from flowloom_registry.reference.outline import outline

    if not isinstance(one.node, ast.ClassDef):
        return []
    told = outline(one)
    return [*(known.name for known in told.members), *told.fields]


def _with_kinds(found: Catalog, meant: Meant) -> Meant:
    """Contracts are shown with the kind that they are the contract of."""
    if meant.member:
        return meant
    for kind in found.kinds.values():
        place, _, name = kind.contract.rpartition(":")
        for one in meant.definitions:
            if _is(f"{place}.{name}", one.module, one.name):
                meant.kinds.append(kind)
                meant.definitions.remove(one)
                break
    return meant


def _require_member(name: str, member: str, owners: list[Definition]) -> None:
    from flowloom_registry.errors import UnknownComponentError
    from flowloom_registry.nearest import did_you_mean, join_hints

    known = [other for one in owners for other in _members(one)]
    if known and member not in known:
        hint = join_hints(did_you_mean(member, known), f"it has: {', '.join(known)}")
        raise UnknownComponentError(f"{name!r}: {owners[0].target} has no {member!r}; {hint}")


def _unknown(found: Catalog, name: str) -> str:
    from flowloom_registry.nearest import join_hints, nearest

    head, _, last = name.partition(".")
    if last and head in found.sections:
        near, bare = nearest(last, _fields(found.sections[head])), last
        near = [f"{head}.{word}" for word in near]
    else:
        bare = name.rpartition("/")[2].rpartition(":")[2]
        near = nearest(bare, _words(found)) if bare == bare.lower() else []
        near = near or nearest(bare.rpartition(".")[2], _names(found))
    hint = join_hints(
        f"did you mean {' or '.join(map(repr, near))}?" if near else "",
        "'flowloom list' shows components and recipes, 'flowloom show' everything else",
    )
    broken = "".join(
        f"; plugin {b.plugin.name!r} is broken and was not searched ({b.error})" for b in found.broken
    )
    return f"nothing is named {name!r}; {hint}{broken}"


def _words(found: Catalog) -> Iterator[str]:
    yield from (row.name for row in found.rows)
    yield from (row.name for row in found.files)
    yield from found.kinds
    yield from found.sections


def _names(found: Catalog) -> Iterator[str]:
    """Names of Python that somebody may have meant; a constant would answer to any word in capitals."""
    from flowloom_registry.reference.names import definitions, packages_of

    for one in definitions(packages_of(found)):
        if not one.name.isupper() and ".cli" not in one.module and not one.name.startswith("check_"):
            yield one.name
