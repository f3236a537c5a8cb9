"""Conformance of what is registered or written in a recipe: it is built, and held to the laws of its kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import isclass
from typing import TYPE_CHECKING, Any

from flowloom.errors import DataError, MissingDependencyError
from flowloom.kinds import Kind
from flowloom_registry.config.annotations import alternatives
from flowloom_registry.config.bind import Binder
from flowloom_registry.config.example import SPEC, TRAINED_FLOW, build_component, plan_component
from flowloom_registry.config.plan import ComponentPlan, RecordPlan
from flowloom_registry.config.recipe import Recipe, load_recipe
from flowloom_registry.config.scope import Scope
from flowloom_registry.config.signature import read_signature
from flowloom_registry.config.stages import stages_of
from flowloom_registry.errors import ConfigError, PluginError, one_line
from flowloom_registry.plugins.sections import TRAINED
from flowloom_registry.plugins.targets import load_attribute

if TYPE_CHECKING:
    from flowloom.data import Dataset
    from flowloom.flow import Flow
    from flowloom.state import Shape
    from flowloom.testing import CheckResult
    from flowloom.trained import Trained
    from flowloom_registry.plugins.catalog import Catalog
    from flowloom_registry.plugins.rows import Row
    from flowloom_registry.runs.assembly import Assembly

PLAIN = "eight-gaussians"
"""Core's data set, on which everything is checked that does not ask for another."""
FILES = "files"
"""Tag of data sets that read files, which may be absent where a check runs."""
_LARGEST_SPACE = 64
"""Numbers in a point: the laws of a geometry take finite differences along every one of them."""


@dataclass(frozen=True)
class Setting:
    """What a component is checked on.

    Args:
        data: the examples; None in a recipe that has none.
        shape: of one state, where the component is to take states of it and of no other.
        flow: of the recipe that the component stands in.
        parts: by kind, what the recipe has to fill its parameters.
    """

    data: Dataset | None
    shape: Shape | None = None
    flow: Flow | None = None
    parts: Mapping[str, object] = field(default_factory=dict)


def check_row(
    row: Row,
    catalog: Catalog,
    *,
    arguments: Mapping[str, Any] | None = None,
    data: Dataset | None = None,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Build a component and check it.

    Args:
        row: which one; one that no plugin lists (``catalog.find(kind, "./file.py:Class")``) has no example.
        catalog: where it and what it nests are looked up.
        arguments: constructor arguments over those of the example.
        data: what it is checked on, with states of its shape; where None, what the row names in its
            registration (a data set, or a recipe with all its parts), or core's eight Gaussians.
        seed: of everything drawn.
        slow: also run checks that take seconds.

    Raises:
        ConfigError: ``arguments`` do not fit the constructor's signature.
        UnknownComponentError: the row names a data set or recipe that is not there.
    """
    example = {**row.example, **(arguments or {})}
    if data is not None:
        setting = Setting(data, data.spec.event_shape())
    elif row.within is not None:
        *_, (_, last) = _stage_by_stage(load_recipe(_own_recipe(row, catalog), catalog=catalog))
        setting = _setting_of(last)
    else:
        setting = Setting(data_of(row, catalog))
    given = given_with(row, catalog, example, setting)
    place = row.label if arguments else f"example of {row.kind}/{row.qualified}"
    if arguments:
        plan_component(row.kind, row.qualified, example, given=given, catalog=catalog, place=place)

    def make() -> Any:
        catalog.load(row)  # a missing library is told as such, and not as a problem of the arguments
        return build_component(row.kind, row.qualified, example, given=given, catalog=catalog, place=place)

    return check_made(
        make,
        catalog.kind(row.kind),
        setting,
        may_lack_files=FILES in row.tags,
        known_failures=row.known_failures,
        seed=seed,
        slow=slow,
    )


def check_recipe(
    recipe: Recipe, *, seed: int = 0, slow: bool = False
) -> Iterator[tuple[str, list[CheckResult]]]:
    """Build a recipe, and hold every part of it to its laws on the recipe's own data, spec and geometry.

    Stages are built one on another, untrained.

    Yields:
        The section of a part (``metrics[0]`` in a list) with its component, and the verdicts.

    Raises:
        ConfigError: the recipe has problems.
        DataError: its data cannot be read here.
    """
    for one, assembly in _stage_by_stage(recipe):
        setting = _setting_of(assembly)
        where = "" if one.stage is None else f"{one.stage.name}: "
        for plan in _components(assembly.built.plan.sections):
            results = check_made(
                partial(assembly.built.again, plan),
                recipe.catalog.kind(plan.row.kind),
                setting,
                known_failures=plan.row.known_failures,
                seed=seed,
                slow=slow,
            )
            yield f"{where}{plan.path}: {plan.row.label}", results


def check_made(
    make: Callable[[], Any],
    kind: Kind,
    setting: Setting,
    *,
    may_lack_files: bool = False,
    known_failures: Mapping[str, str] | None = None,
    seed: int = 0,
    slow: bool = False,
) -> list[CheckResult]:
    """Check what ``make`` builds; a failure to build is a failed check of its own.

    What cannot be built for want of files or packages is not checked: its one verdict is ``skipped``.
    """
    from flowloom.testing import CheckResult, all_checks, check, checks_for

    try:
        made = make()
        if kind.name == "dataset":
            made.take(_first_row())
    except (ConfigError, DataError) as error:
        causes = (error, error.__cause__)
        absent = may_lack_files and any(isinstance(cause, DataError) for cause in causes)
        absent = absent or any(isinstance(cause, MissingDependencyError) for cause in causes)
        return [CheckResult("check_builds", "skipped" if absent else "failed", str(error), seed=seed)]
    except MissingDependencyError as error:
        return [CheckResult("check_builds", "skipped", str(error), seed=seed)]
    except Exception as error:
        return [CheckResult("check_builds", "failed", one_line(error), seed=seed)]
    first = CheckResult("check_builds", "passed", seed=seed)
    if not all_checks(kind):
        return [first]
    shape, flow, data = setting.shape, setting.flow, setting.data
    if kind.name == "geometry" and shape is not None and _size(shape) > _LARGEST_SPACE:
        shape = None
    # A law that a component is known to break may not apply to it in another setting.
    applying = {one.__name__ for one in checks_for(kind, made, slow=slow)}
    excused = {name: why for name, why in (known_failures or {}).items() if name in applying or flow is None}
    return [
        first,
        *check(
            make,
            kind,
            spec=flow.spec if flow is not None else data.spec if data is not None else None,
            shape=shape,
            data=data,
            flow=flow,
            expected_failures=excused,
            seed=seed,
            slow=slow,
        ),
    ]


def is_checked(results: list[CheckResult]) -> bool:
    """Whether anything was checked: False where the component could not be built here."""
    return any(result.status != "skipped" for result in results)


def data_of(row: Row, catalog: Catalog) -> Dataset:
    """The data set that a row is checked on, built from its own example.

    Raises:
        UnknownComponentError: the row names one that neither its plugin nor core has.
    """
    if row.data is None:
        return _data(f"core:{PLAIN}", catalog)
    own = [one for one in catalog.of_kind("dataset") if one.name == row.data]
    for plugin in (row.plugin.name, "core"):
        for one in own:
            if one.plugin.name == plugin:
                return _data(one.qualified, catalog)
    return _data(f"{row.plugin.name}:{row.data}", catalog)


@lru_cache(maxsize=8)
def _data(reference: str, catalog: Catalog) -> Dataset:
    """Data are read on first use and never changed: what many rows are checked on is read once."""
    found: Dataset = _example("dataset", reference, catalog)
    return found


def given_with(
    row: Row, catalog: Catalog, arguments: Mapping[str, Any], setting: Setting
) -> dict[str, object]:
    """What stands in for the rest of a recipe: data, spec, and the parts that a constructor needs.

    Of a recipe all parts are given. Otherwise only what the constructor cannot do without, by parts that fit
    the data, so that its own defaults are what is checked.
    """
    from flowloom.testing.flows import flow_on

    data = setting.data
    binder = Binder(catalog, Scope({}, {}, "", None), [])
    try:
        signature = read_signature(catalog.load(row), binder.known_names())
        asked = {
            member
            for parameter in signature.parameters.values()
            if parameter.required and parameter.name not in arguments
            for member in alternatives(parameter.annotation)
            if isclass(member)
        }
    except (PluginError, MissingDependencyError):
        asked = set()  # told when it is built
    trained = {TRAINED_FLOW: _trained(setting)} if load_attribute(TRAINED) in asked else {}
    if setting.flow is not None:
        return {**setting.parts, **trained, SPEC: setting.flow.spec}
    assert data is not None
    given: dict[str, object] = {SPEC: data.spec, "dataset": data, **trained}
    needed = {binder.kind_of(member) for member in asked}
    flow = flow_on(data) if needed - {None, "dataset"} else None
    parts = {kind: getattr(flow, str(kind), None) for kind in needed}
    return {**{str(kind): part for kind, part in parts.items() if part is not None}, **given}


def _trained(setting: Setting) -> Trained:
    """A flow on the data that are there, as if it had been trained."""
    from flowloom.testing.flows import flow_on
    from flowloom.trained import Trained

    flow = copy.deepcopy(setting.flow) if setting.flow is not None else flow_on(_require(setting.data))
    assert flow is not None
    return Trained(flow, None if setting.data is None else setting.data.spec, setting.data)


def _require(data: Dataset | None) -> Dataset:
    assert data is not None
    return data


def _assembled(recipe: Recipe, planned: Mapping[str, Assembly] | None = None) -> Assembly:
    """A recipe built, with its data read and what is fitted fitted."""
    from flowloom_registry.runs.assembly import assemble

    assembly = assemble(recipe, planned=planned)
    if assembly.data is not None:
        assembly.data.take(_first_row())
    assembly.fit_parts()
    return assembly


def _stage_by_stage(recipe: Recipe) -> Iterator[tuple[Recipe, Assembly]]:
    """The stages of a recipe, or itself, each built on those before; nothing is trained."""
    planned: dict[str, Assembly] = {}
    for one in stages_of(recipe):
        assembly = _assembled(one, planned)
        if one.stage is not None:
            planned[one.stage.name] = assembly
        yield one, assembly


def _setting_of(assembly: Assembly) -> Setting:
    flow, built = assembly.flow, assembly.built
    sections = built.recipe.catalog.sections
    parts = {str(sections[name].kind): part for name, part in built.parts.items() if sections[name].kind}
    return Setting(assembly.data, flow.spec.event_shape(), flow, parts)


def _own_recipe(row: Row, catalog: Catalog) -> str:
    """The recipe that a row names, of its own plugin or of core."""
    for plugin in (row.plugin.name, "core"):
        for recipe in catalog.recipes:
            if (recipe.name, recipe.plugin.name) == (row.within, plugin):
                return recipe.qualified
    return f"{row.plugin.name}:{row.within}"  # which is told to be unknown


def _components(value: Any) -> Iterator[ComponentPlan]:
    """The outermost components of a recipe: of sections, of lists, and of fields of records."""
    if isinstance(value, ComponentPlan):
        yield value
    elif isinstance(value, RecordPlan):
        yield from _components(value.arguments)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _components(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _components(item)


def _example(kind: str, reference: str, catalog: Catalog) -> Any:
    row = catalog.find(kind, reference)
    return build_component(
        kind, reference, row.example, catalog=catalog, place=f"example of {kind}/{row.qualified}"
    )


def _size(shape: Any) -> int:
    if isinstance(shape, Mapping):
        return sum(map(_size, shape.values()))
    size = 1
    for length in shape:
        size *= length
    return size


def _first_row() -> Any:
    import torch

    return torch.arange(1)
