"""From a checked recipe to objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from flowloom.clashes import problems
from flowloom.errors import FlowloomError, IncompatibleError, MissingDependencyError
from flowloom_registry.config.check import check, reaches
from flowloom_registry.config.choose import choose
from flowloom_registry.config.nodes import Node, Position
from flowloom_registry.config.places import Places
from flowloom_registry.config.plan import (
    AnyPlan,
    ComponentPlan,
    ImportPlan,
    Plan,
    RecipePlan,
    RecordPlan,
    place_of,
)
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import Filling
from flowloom_registry.config.taken import RunPlan, Runs
from flowloom_registry.errors import ConfigError, MisfitError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints
from flowloom_registry.plugins.sections import CONDITIONS_GIVER, CONDITIONS_TAKER, SPEC_GIVERS, TRAINED
from flowloom_registry.plugins.targets import keeps, load_attribute

Fetch: TypeAlias = Callable[[Filling, AnyPlan, str], Any]
"""Gives what fills a parameter: (filling, plan that asks, parameter) -> object."""

Rebuild: TypeAlias = Callable[[Callable[[], Any]], Any]
"""Gives the data of a recipe: (what makes them) -> the data, or what stands for them."""


@dataclass(frozen=True)
class Built:
    """The objects of a recipe.

    Args:
        recipe: where they come from.
        plan: how they were made.
        parts: section -> object, list of objects or record; sections that the recipe lacks are left out.
        places: which object was written where.
        runs: what opened the runs that parts were taken from.
    """

    recipe: Recipe
    plan: RecipePlan
    parts: Mapping[str, Any]
    places: Places = field(default_factory=Places)
    runs: Runs | None = None

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.plan.sections.get("seed") or 0

    def __getitem__(self, section: str) -> Any:
        """The object of a section.

        Raises:
            ConfigError: the recipe has none there; says where it would stand.
        """
        if section not in self.parts:
            its = self.recipe.catalog.sections[section]
            node = self.recipe.tree.get(section)
            at = node.at if node is not None else Position(self.recipe.file, 1, 1)
            raise ConfigError([at.problem(section, f"a recipe needs a section '{section}:' ({its.meaning})")])
        return self.parts[section]

    def get(self, section: str) -> Any:
        """The object of a section, or None."""
        return self.parts.get(section)

    def again(self, plan: Plan) -> Any:
        """One of its components built afresh, from the same parts around it."""
        return construct(plan, _fetcher(self.plan, self.parts), runs=self.runs)

    def where(self, part: object) -> Position | None:
        """Where a part was written, nested ones included; None for an object that the recipe did not make."""
        return self.places.where(part)

    def placing(self) -> AbstractContextManager[None]:
        """Inside, errors that a part raises carry the place of that part; see `Places.placing`."""
        return self.places.placing()

    def resolved(self, folder: Path | None = None, used: Mapping[str, str] | None = None) -> str:
        """The recipe with every default, full names and versions, as YAML that builds the same objects.

        Args:
            folder: of the run that will hold it; files of the project around it are then named relative to
                it, so that the project can move.
            used: how the runs that it uses are seen from there, by identity; ``used/NAME`` where left out.
        """
        from flowloom_registry.config.resolve import resolve

        return resolve(self.recipe, self.plan, folder, used=used)


def build(
    recipe: Recipe,
    *,
    needs: Iterable[str] = ("model",),
    runs: Runs | None = None,
    data: Rebuild | None = None,
    sparing: bool = False,
) -> Built:
    """Build every part of a recipe, in the order in which they need each other.

    What a recipe leaves to be chosen is chosen on the way: the geometry by the spec of the states, so once
    data (and codec) are built; source, path, objective and solver by the geometry. Nothing is built before
    everything that the recipe does say was found right.

    Set the seed of torch beforehand where initial weights are to be repeatable.

    Args:
        recipe: what to build.
        needs: sections that it must have for what is made of it; a flow has a network.
        runs: opens the runs that it takes parts of.
        data: makes the data, or what stands for them where they are not at hand; they are simply made where
            left out.
        sparing: leave judges and trackers out whose packages are not installed: who samples needs none.

    Raises:
        ConfigError: the recipe has problems, or a constructor refused its values.
        MisfitError: its parts do not fit together.
    """
    wanted, chosen = tuple(needs), dict[str, Node]()
    plan = check(recipe, needs=wanted)
    sections = recipe.catalog.sections.values()
    spared = {one.name for one in sections if one.judges and one.form == "components"} if sparing else set()
    making = _Making({}, Places(), runs, data, spared)
    parts = making.parts
    while plan.left_open:
        by_spec = [name for name in plan.left_open if recipe.catalog.sections[name].chosen == "spec"]
        if by_spec:
            giver = next((name for name in SPEC_GIVERS if plan.sections.get(name) is not None), None)
            states = None
            if giver is not None:
                making.make(plan, giver)
                states = _spec_of(plan, parts, giver)
            chosen |= {name: choose(recipe, name, states) for name in by_spec}
        else:
            making.make(plan, "geometry")
            chosen |= {name: choose(recipe, name, parts["geometry"]) for name in plan.left_open}
        plan = check(recipe, needs=wanted, chosen=chosen)
    making.make(plan)
    clashes = _clashes(plan, parts)
    if clashes:
        raise MisfitError(clashes)
    return Built(recipe, plan, parts, making.places, runs)


@dataclass(frozen=True)
class _Making:
    """Objects in the making: what is there so far, what they are made with, and lists that may lack some."""

    parts: dict[str, Any]
    places: Places
    runs: Runs | None
    data: Rebuild | None
    spared: Collection[str]

    def make(self, plan: RecipePlan, last: str | None = None) -> None:
        """Construct the sections that are not there yet: all of them, or ``last`` and what it needs.

        Raises:
            ConfigError: ``last`` needs a section that is itself left open.
        """
        if last is not None:
            _require_closed(plan, last)
        for section in plan.order:
            if section in self.parts or (last is not None and not reaches(plan.needs, last, section)):
                continue
            value = self._section(plan, section)
            if value is not None and value != [] and value != {}:
                self.parts[section] = value
                if section == CONDITIONS_GIVER:
                    _require_told(plan, self.parts)

    def _section(self, plan: RecipePlan, section: str) -> Any:
        planned, fetch = plan.sections[section], _fetcher(plan, self.parts)

        def make() -> Any:
            return construct(planned, fetch, self.places, self.runs, section in self.spared)

        if section == "data" and self.data is not None and planned is not None:
            return self.data(make)
        return make()


def _require_closed(plan: RecipePlan, last: str) -> None:
    for section, needs in plan.needs.items():
        for other, path in needs.items():
            if other in plan.left_open and reaches(plan.needs, last, section):
                what = "the spec of the states" if last in SPEC_GIVERS else f"the {last}"
                message = f"needs section '{other}', which is left out and then follows from {what}"
                raise ConfigError([plan.places[section].problem(path, message, f"add '{other}:'")])


def _require_told(plan: RecipePlan, parts: Mapping[str, Any]) -> None:
    """An objective that takes the network apart came after it, and then cannot ask it for conditions."""
    asked = _conditions(parts[CONDITIONS_GIVER])
    if asked and CONDITIONS_TAKER in parts:
        path = plan.needs[CONDITIONS_GIVER].get(CONDITIONS_TAKER, CONDITIONS_GIVER)
        message = (
            f"it asks the network for {', '.join(asked)}, which the network must know when it is built, "
            "and it is given that network itself"
        )
        hint = "take averages from step.averaged, or copies in turns(flow)"
        raise ConfigError([plan.places[CONDITIONS_GIVER].problem(path, message, hint)])


def _fetcher(plan: RecipePlan, parts: Mapping[str, Any]) -> Fetch:
    """What fills parameters from the parts that are there."""

    def fetch(filling: Filling, asking: AnyPlan, parameter: str) -> Any:
        at = f"{asking.path}.{parameter}"
        if filling.spec:
            spec = _spec_of(plan, parts, filling.section, asking.at, at)
            if filling.joined is not None and filling.joined in parts:
                asked = _conditions(parts[filling.joined])
                spec = replace(spec, conditions={**spec.conditions, **asked}) if asked else spec
            for i, name in enumerate(filling.part):
                if name not in spec.parts:
                    raise ConfigError(
                        [_no_part(asking.at, at, "the states have", filling.part[: i + 1], spec.parts)]
                    )
                spec = spec.parts[name]
            return spec
        found: Any = parts.get(filling.section)
        if found is None:  # lists and mappings may be empty
            return [] if isinstance(plan.sections.get(filling.section), list) else {}
        if filling.name:
            found = found[filling.name]
            if filling.trained and not isinstance(found, load_attribute(TRAINED)):
                message = f"needs a trained flow, and the role '{filling.name}' is a network"
                hint = f"write {filling.name}: {{run: NAME}} there, a stage or the folder of a run"
                raise ConfigError([asking.at.problem(at, message, hint)])
        elif isinstance(found, (list, dict)):
            return type(found)(found)
        for i, name in enumerate(filling.part):
            inner = _parts_of(found, plan, filling)
            if not inner:
                break  # what is no product holds for all parts alike
            if name not in inner:
                whose, part = f"section '{filling.section}' has", filling.part[: i + 1]
                raise ConfigError([_no_part(asking.at, at, whose, part, inner)])
            found = inner[name]
        return found

    return fetch


def _parts_of(product: Any, plan: RecipePlan, filling: Filling) -> Mapping[str, Any]:
    """The parts of a product, which are of the same kind as it; nothing of what is no product."""
    value = plan.sections[filling.section]
    contract = (value[filling.name] if filling.name else value).contract
    parts = getattr(product, "parts", None)
    same = isinstance(parts, Mapping) and all(keeps(one, contract) for one in parts.values())
    return parts if isinstance(parts, Mapping) and same else {}


def _no_part(
    at: Position, path: str, whose: str, part: tuple[str, ...], there: Mapping[str, object]
) -> Problem:
    hint = join_hints(
        did_you_mean(part[-1], there),
        f"its parts: {', '.join(there)}" if there else "there are no parts at all",
    )
    return at.problem(path, f"{whose} no part '{'.'.join(part)}'", hint)


def _spec_of(
    plan: RecipePlan,
    parts: Mapping[str, Any],
    section: str,
    asking: Position | None = None,
    path: str | None = None,
) -> Any:
    """The spec that a part gives.

    Raises:
        ConfigError: it has none, or reading its data failed.
    """
    try:
        spec = getattr(parts[section], "spec", None)
    except FlowloomError as error:  # data are read on first use, which may be this
        who = type(parts[section]).__name__
        raise ConfigError([plan.places[section].problem(section, f"{who}: {error}")]) from error
    if spec is None:
        message = f"{type(parts[section]).__name__} in section '{section}' has no 'spec' to give"
        raise ConfigError([(asking or plan.places[section]).problem(path or section, message)])
    return spec


def _conditions(objective: Any) -> dict[str, Any]:
    """What an objective asks of its network; nothing where its contract knows no conditions."""
    ask = getattr(objective, "conditions", None)
    return dict(ask()) if ask is not None else {}


def construct(
    value: Any,
    fetch: Fetch,
    places: Places | None = None,
    runs: Runs | None = None,
    sparing: bool = False,
) -> Any:
    """A checked value with every plan in it made into an object.

    Args:
        value: a plan, or data that may hold plans.
        fetch: gives what fills a parameter.
        places: told of everything that is made.
        runs: opens other runs that parts are taken from.
        sparing: leave out of lists what needs a package that is not installed.

    Raises:
        ConfigError: a constructor refused its values.
    """

    def inside(item: Any) -> Any:
        return construct(item, fetch, places, runs, sparing)

    if isinstance(value, (ComponentPlan, RecordPlan)):
        return _constructed(value, inside, fetch, places or Places())
    if isinstance(value, RunPlan):
        return _taken(value, fetch, runs)
    if isinstance(value, ImportPlan):
        return value.value
    if isinstance(value, Mapping):
        return {key: inside(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(_spared(value, inside)) if sparing else [inside(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_spared(value, inside) if sparing else (inside(item) for item in value))
    return value


def _spared(items: Iterable[Any], inside: Callable[[Any], Any]) -> Iterator[Any]:
    """Those of them whose packages are here."""
    for item in items:
        try:
            yield inside(item)
        except ConfigError as error:
            if not isinstance(error.__cause__, MissingDependencyError):
                raise


def _taken(plan: RunPlan, fetch: Fetch, runs: Runs | None) -> Any:
    if runs is None:
        raise ConfigError([plan.at.problem(plan.path, "parts of other runs cannot be taken here")])
    spec = None
    for name, filling in plan.injected.items():
        spec = fetch(filling, plan, name)
    found = runs.take(plan, spec)
    if plan.part and not keeps(found, plan.contract):
        wanted = getattr(plan.contract, "__name__", plan.contract)
        message = f"{plan.part} of {plan.reference} is a {type(found).__name__}, and no {wanted}"
        raise ConfigError([plan.at.problem(plan.path, message)])
    return found


def _constructed(plan: Plan, inside: Callable[[Any], Any], fetch: Fetch, places: Places) -> Any:
    arguments = {name: inside(item) for name, item in plan.arguments.items()}
    for name, filling in plan.injected.items():
        arguments[name] = fetch(filling, plan, name)
    who = getattr(plan.target, "__name__", plan.path)
    try:
        made = plan.target(**arguments)
    except ConfigError:
        raise
    except (ValueError, FlowloomError) as error:
        # A part that was given to it may be at fault: data are read on first use.
        blamed = places.blame(error) or plan
        who = getattr(blamed.target, "__name__", blamed.path)
        kind = MisfitError if isinstance(error, IncompatibleError) else ConfigError
        raise kind([place_of(blamed, str(error)).problem(blamed.path, f"{who}: {error}")]) from error
    except TypeError as error:
        # Python's own words for a class with methods still to be written; any other is a bug.
        if "instantiate abstract class" not in str(error):
            raise
        raise ConfigError([plan.at.problem(plan.path, _unfinished(plan.target, who, error))]) from error
    if isinstance(plan, ComponentPlan) and not keeps(made, plan.contract):
        message = f"{who} made a {type(made).__name__}, which is no {plan.row.kind}"
        raise ConfigError([plan.at.problem(plan.path, message)])
    places.note(made, plan)
    return made


def _unfinished(target: Any, who: str, error: TypeError) -> str:
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if not missing:
        return f"{who}: {error}"  # a factory, or a part that the constructor makes
    return (
        f"{who} lacks {', '.join(missing)}; every subclass has to define what its base class leaves abstract"
    )


def _clashes(plan: RecipePlan, parts: Mapping[str, Any]) -> list[Problem]:
    found = []
    for clash in problems({"spec": spec_of(parts), **parts}):
        nowhere = Position(plan.file)
        first, second = (plan.places.get(name, nowhere) for name in (clash.first, clash.second))
        if clash.first == clash.second:  # a section that lists what does not go together
            found.append(first.problem(clash.first, clash.message))
            continue
        hint = f"'{clash.second}' is at {second}" if second.line else ""
        found.append(first.problem(f"{clash.first} + {clash.second}", clash.message, hint))
    return found


def spec_of(parts: Mapping[str, Any]) -> Any:
    """The spec of the states: of the codec where there is one, else of the feed or data; None without any."""
    giver = next((parts[name] for name in SPEC_GIVERS if name in parts), None)
    return getattr(giver, "spec", None)
