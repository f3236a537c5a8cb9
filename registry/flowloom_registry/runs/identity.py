"""What identifies a run: everything that its training depends on, and nothing that can be asked again."""

from __future__ import annotations

from torch import nn

from flowloom_registry.config.build import Built
from flowloom_registry.runs.experiment import Experiment

NOT_PARTS = {"name", "summary", "paper", "extends", "versions", "claim"}
"""Sections that are for people and for the loader."""

_ASKED_OF_THE_FLOW = ("solver", "guidance")


def changed(before: str, now: str, experiment: Experiment) -> str | None:
    """What differs between two resolved recipes in a section that training depends on; None where nothing does.

    Args:
        before: of the run.
        now: of the recipe that wants to use it.
        experiment: built from the latter.

    Returns:
        The first lines that differ, ``steps: 20 -> steps: 30``, or the names of the sections.
    """
    apart = asked_again(experiment)
    old, new = _sections(before), _sections(now)
    for name in dict.fromkeys((*new, *old)):
        if name in apart or old.get(name) == new.get(name):
            continue
        pairs = zip(old.get(name, ()), new.get(name, ()), strict=False)
        return next((f"{a.strip()} -> {b.strip()}" for a, b in pairs if a != b), f"section '{name}'")
    return None


def asked_again(experiment: Experiment) -> set[str]:
    """Sections that can be asked again, differently, of a finished run.

    Those that say so (`Section.judges`), unless a part that is trained is given one of them, or looks at samples
    during training, or has itself something fitted.
    """
    built = experiment.built
    apart = {name for name, section in built.recipe.catalog.sections.items() if section.judges}
    looks = experiment.feed.refresh_every or experiment.validate.score is not None
    for name in _ASKED_OF_THE_FLOW:
        part = built.get(name)
        stateful = isinstance(part, nn.Module) and bool(part.state_dict())
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


def _sections(resolved: str) -> dict[str, list[str]]:
    """The lines of every section by its name."""
    out: dict[str, list[str]] = {}
    name = ""
    for line in resolved.splitlines():
        if line and not line[0].isspace() and line[0] not in "-#":
            name = line.partition(":")[0]
        out.setdefault(name, []).append(line)
    return out
