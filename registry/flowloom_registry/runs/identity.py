"""What identifies a run: everything that its training depends on, and nothing that can be asked again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn

from flowloom.parts import tensors
from flowloom_registry.config.build import Built
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.resolve import defaults_at
from flowloom_registry.config.taken import FROZEN
from flowloom_registry.config.yaml import read
from flowloom_registry.runs.assembly import Assembly

NOT_PARTS = {"name", "summary", "paper", "extends", "stages", "versions", "claim"}
"""Sections that are for people and for the loader."""

_ABSENT = object()
_ASKED_OF_THE_FLOW = ("solver", "guidance")


def changed(
    before: str, now: str, assembly: Assembly, but: Collection[str] = frozenset(), trained: bool = False
) -> str | None:
    """What differs between two resolved recipes in a section that training depends on; None where nothing
    does. What the older one does not mention, for its version did not know it, is what it is by default.

    Args:
        before: of the run.
        now: of the recipe that wants to use it.
        assembly: built from the latter.
        but: places that may differ, ``data.file`` say.
        trained: the weights are asked, and nothing will train.

    Returns:
        The first value that differs, with its place: ``train.steps: 20 -> 30``.
    """
    apart = asked_again(assembly, trained)
    old, new = (plain(read(text, "recipe.yaml").root) for text in (before, now))
    default = defaults_at(assembly.built.recipe, assembly.built.plan)
    free = [place for place in (decoding(assembly) if trained else ()) if not _learns(place, old, new)]
    for place in (*but, *free):
        section, _, key = place.partition(".")
        if isinstance(old.get(section), dict) and isinstance(new.get(section), dict):
            rest = {name: value for name, value in new[section].items() if name != key}
            new[section] = {**rest, **{k: v for k, v in old[section].items() if k == key}}
    for name in dict.fromkeys((*new, *old)):
        if name not in apart:
            found = _difference(name, old.get(name, _ABSENT), new.get(name, _ABSENT), default)
            if found is not None:
                return found
    return None


def _learns(place: str, *recipes: Mapping[str, Any]) -> bool:
    """Whether one of them trains there on what another run learned: its weights are then this run's."""
    section, _, key = place.partition(".")
    said = (recipe.get(section) for recipe in recipes)
    values = (one.get(key) for one in said if isinstance(one, dict))
    return any(isinstance(value, dict) and value.get(FROZEN) is False for value in values)


def decoding(assembly: Assembly) -> list[str]:
    """Places of what only decoding looks at, which is no part of what was trained (`Codec.decoding`)."""
    codec = assembly.flow.codec
    return [] if codec is None else [f"codec.{name}" for name in codec.decoding]


def asked_again(assembly: Assembly, trained: bool = False) -> set[str]:
    """Sections that can be asked again, differently, of the weights of a run.

    Those that say so (`Section.judges`), unless a part that is trained is given one of them or has itself
    something fitted (what it has of other runs is theirs). While it trains, nor may what it looks through be
    another: a feed or a validation that draws samples.

    Args:
        assembly: the run's.
        trained: nothing will train any more, whatever training looked through.
    """
    built = assembly.built
    apart = {name for name, section in built.recipe.catalog.sections.items() if section.judges}
    score = assembly.validate.score
    draws = bool(assembly.feed.refresh_every) or (score is not None and score.asks_solver)
    looks = draws and not trained
    for name in _ASKED_OF_THE_FLOW:
        part = built.get(name)
        stateful = isinstance(part, nn.Module) and bool(tensors(part))
        if looks or stateful or callable(getattr(part, "fit", None)):
            apart.discard(name)
    return apart - _needed(built, set(built.parts) - apart)


def _needed(built: Built, sections: set[str]) -> set[str]:
    """Sections that some are given, and those in turn."""
    found: set[str] = set()
    waiting = list(sections)
    while waiting:
        for other in built.plan.needs.get(waiting.pop(), {}):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _difference(place: str, old: Any, new: Any, default: Mapping[str, Any]) -> str | None:
    """The first value that differs, with its place; None where none does."""
    if old is _ABSENT:
        old = default.get(place, _ABSENT)
    pairs: Iterable[tuple[str, Any, Any]]
    if isinstance(old, dict) and isinstance(new, dict):
        names = dict.fromkeys((*new, *old))
        pairs = ((f"{place}.{name}", old.get(name, _ABSENT), new.get(name, _ABSENT)) for name in names)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = ((f"{place}[{i}]", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True)))
    elif type(old) is type(new) and (old == new or (old != old and new != new)):  # NaN is what it was
        return None
    else:
        return f"{place}: {_told(old)} -> {_told(new)}"
    inside = (_difference(*pair, default) for pair in pairs)
    return next((found for found in inside if found is not None), None)


def _told(value: Any) -> str:
    """A value in few words: a component by its name."""
    if value is _ABSENT:
        return "left out"
    if isinstance(value, list):
        return f"[{', '.join(map(_told, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{name}: {_told(item)}" for name, item in value.items())
        return _told(value["use"]) if "use" in value else f"{{{inside}}}"
    return value if isinstance(value, str) and value else json.dumps(value)
