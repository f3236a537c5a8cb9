"""The parameters of a constructor as a recipe writes them, with all that its docstring says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowloom_registry.cli.columns import aligned

if TYPE_CHECKING:
    from flowloom_registry.config.bind import Binder
    from flowloom_registry.config.signature import Parameter
    from flowloom_registry.plugins.catalog import Catalog


def parameter_lines(
    found: Catalog, target: Any, section: str, *, of_data: bool = False, only: str = ""
) -> list[str]:
    """Name, type and default of every parameter, and below it what it is for.

    Args:
        found: the catalog.
        target: class or factory.
        section: where it stands in a recipe, empty for a record.
        of_data: whether it is a data set, which is given no spec.
        only: name of the one that is asked for, empty for all.
    """
    from flowloom_registry.config.bind import Binder
    from flowloom_registry.config.scope import Scope
    from flowloom_registry.config.signature import NOTHING, read_signature
    from flowloom_registry.reference.docstring import text_and_arguments

    signature = read_signature(target)
    homes = {part.name: str(part.kind) for part in found.sections.values() if part.form == "component"}
    # Every section is taken as present, to tell what a recipe could fill.
    binder = Binder(found, Scope(homes, homes, section, None if of_data else "data"), [])
    says = text_and_arguments(target)[1]
    names = list(signature.parameters)
    table = [_parameter(one, binder) for one in signature.parameters.values()]
    if signature.rest is not NOTHING:
        names.append("")
        table.append(("**", "any further argument", ""))
    if not table:
        return ["  takes no parameters"]
    lines = ["  parameters:"]
    for name, line in zip(names, aligned(table, indent="    "), strict=True):
        if only not in ("", name):
            continue
        lines += [line, *(f"        {text}".rstrip() for text in says.get(name, ()))]
        if name:
            records = _records(signature.parameters[name].annotation, binder)
            lines += [f"        its keys and values: flowloom show {record}" for record in records]
    return lines


def _records(annotation: Any, binder: Binder) -> list[str]:
    """Names of the records that a recipe writes as mappings, in an annotation."""
    from typing import get_args

    from flowloom_registry.config.annotations import is_record, strip

    base = strip(annotation)
    if is_record(base) and binder.kind_of(base) is None:
        return [base.__name__]
    return list(dict.fromkeys(name for one in get_args(base) for name in _records(one, binder)))


def _parameter(parameter: Parameter, binder: Binder) -> tuple[str, str, str]:
    from flowloom_registry.config.annotations import describe

    source = binder.injection(parameter)
    if source is not None:
        default = "from the data" if source.spec else f"from section '{source}'"
        if not parameter.required:
            default += f", else {_default(parameter.default)}"
    else:
        default = "required" if parameter.required else f"= {_default(parameter.default)}"
    spec = source is not None and source.spec
    return parameter.name, "a spec" if spec else describe(parameter.annotation, binder.kind_of), default


def _default(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
