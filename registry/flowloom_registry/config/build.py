"""From a checked recipe to objects."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowloom.errors import FlowloomError
from flowloom_registry.config.check import check
from flowloom_registry.config.nodes import Position
from flowloom_registry.config.plan import ComponentPlan, Plan, RecipePlan, RecordPlan
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.scope import SPEC_PREFIX
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.plugins.sections import SPEC_GIVERS
from flowloom_registry.plugins.targets import keeps


@dataclass(frozen=True)
class Built:
    """The objects of a recipe.

    Args:
        recipe: where they come from.
        plan: how they were made.
        parts: section -> object, list of objects or record; sections that the recipe lacks are left out.
    """

    recipe: Recipe
    plan: RecipePlan
    parts: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.plan.sections.get("seed") or 0

    def __getitem__(self, section: str) -> Any:
        return self.parts[section]

    def get(self, section: str) -> Any:
        """The object of a section, or None."""
        return self.parts.get(section)

    def again(self, plan: Plan) -> Any:
        """One of its components built afresh, from the same parts around it."""
        return construct(plan, _fetcher(self.plan, self.parts))

    def resolved(self) -> str:
        """The recipe with every default, full names and versions, as YAML that builds the same objects."""
        from flowloom_registry.config.resolve import resolve

        return resolve(self.recipe, self.plan)


def build(recipe: Recipe) -> Built:
    """Build every part of a recipe, in the order in which they need each other.

    Set the seed of torch beforehand where initial weights are to be repeatable.

    Raises:
        ConfigError: the recipe has problems, a constructor refused its values, or parts do not fit together.
    """
    plan = check(recipe)
    parts: dict[str, Any] = {}
    fetch = _fetcher(plan, parts)
    for section in plan.order:
        value = construct(plan.sections[section], fetch)
        if value is not None and value != []:
            parts[section] = value
    clashes = _clashes(plan, parts)
    if clashes:
        raise ConfigError(clashes)
    return Built(recipe, plan, parts)


def _fetcher(plan: RecipePlan, parts: Mapping[str, Any]) -> Callable[[str, Plan, str], Any]:
    """What fills parameters from the parts that are there; see `construct`."""

    def fetch(source: str, asking: Plan, parameter: str) -> Any:
        section = source.removeprefix(SPEC_PREFIX)
        if not source.startswith(SPEC_PREFIX):
            return parts[section]
        try:
            spec = getattr(parts[section], "spec", None)
        except FlowloomError as error:  # data are read on first use, which may be this
            who = type(parts[section]).__name__
            raise ConfigError([plan.places[section].problem(section, f"{who}: {error}")]) from error
        if spec is None:
            message = f"{type(parts[section]).__name__} in section '{section}' has no 'spec' to give"
            raise ConfigError([asking.at.problem(f"{asking.path}.{parameter}", message)])
        return spec

    return fetch


def construct(value: Any, fetch: Callable[[str, Plan, str], Any]) -> Any:
    """A checked value with every plan in it made into an object.

    Args:
        value: a plan, or data that may hold plans.
        fetch: gives what fills a parameter: (source, plan that asks, parameter) -> object.

    Raises:
        ConfigError: a constructor refused its values.
    """
    if isinstance(value, (ComponentPlan, RecordPlan)):
        arguments = {name: construct(item, fetch) for name, item in value.arguments.items()}
        for name, source in value.injected.items():
            arguments[name] = fetch(source, value, name)
        who = getattr(value.target, "__name__", value.path)
        try:
            made = value.target(**arguments)
        except ConfigError:
            raise
        except (ValueError, FlowloomError) as error:
            raise ConfigError([value.at.problem(value.path, f"{who}: {error}")]) from error
        except TypeError as error:
            # Python's own words for a class with methods still to be written; any other is a bug.
            if "instantiate abstract class" not in str(error):
                raise
            raise ConfigError(
                [value.at.problem(value.path, _unfinished(value.target, who, error))]
            ) from error
        if isinstance(value, ComponentPlan) and not keeps(made, value.contract):
            message = f"{who} made a {type(made).__name__}, which is no {value.row.kind}"
            raise ConfigError([value.at.problem(value.path, message)])
        return made
    if isinstance(value, Mapping):
        return {key: construct(item, fetch) for key, item in value.items()}
    if isinstance(value, list):
        return [construct(item, fetch) for item in value]
    if isinstance(value, tuple):
        return tuple(construct(item, fetch) for item in value)
    return value


def _unfinished(target: Any, who: str, error: TypeError) -> str:
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if not missing:
        return f"{who}: {error}"  # a factory, or a part that the constructor makes
    return (
        f"{who} lacks {', '.join(missing)}; every subclass has to define what its base class leaves abstract"
    )


def _clashes(plan: RecipePlan, parts: Mapping[str, Any]) -> list[Problem]:
    try:
        compat = importlib.import_module("flowloom.compat")
    except ModuleNotFoundError as error:
        if error.name != "flowloom.compat":
            raise
        return []
    problems = []
    for clash in compat.problems({"spec": spec_of(parts), **parts}):
        nowhere = Position(plan.file)
        first, second = (plan.places.get(name, nowhere) for name in (clash.first, clash.second))
        hint = f"'{clash.second}' is at {second}" if second.line else ""
        problems.append(first.problem(f"{clash.first} + {clash.second}", clash.message, hint))
    return problems


def spec_of(parts: Mapping[str, Any]) -> Any:
    """The spec of the states: of the codec where there is one, else of the data; None without either."""
    giver = next((parts[name] for name in SPEC_GIVERS if name in parts), None)
    return getattr(giver, "spec", None)
