"""Whether a flow that was trained before can teach this one."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from flowloom.clashes import Clash, Parts
from flowloom.fields import read_as
from flowloom.fields.base import evaluate
from flowloom.paths import Path, another_way
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time
from flowloom.trained import Trained

__all__ = ["mistaught", "of_other_states", "taught_velocity"]


@torch.no_grad()
def taught_velocity(
    teacher: Trained, x: State, t: Time, cond: Cond, generator: torch.Generator | None
) -> State:
    """What a teacher, guidance included, says of states ``(batch, *event)``: a velocity without gradient.

    Args:
        teacher: that is asked.
        x: states at ``t``.
        t: their times ``(batch,)``.
        cond: their conditions.
        generator: for a teacher whose velocity is drawn.
    """
    return evaluate(read_as(teacher.field(), "velocity"), x, t, cond, generator)


def mistaught(
    teacher: Trained | None, parts: Parts, path: Path | None, who: str = "teacher", section: str = "objective"
) -> Iterable[Clash]:
    """A teacher of other states, noise or conditions, on another path, or with no velocity to tell.

    What it says would be taken for the velocity of these states at these times, and nobody would notice.

    Args:
        teacher: that was trained; None clashes with nothing.
        parts: that it is to teach.
        path: of the states that it is asked about; None where it walks its own.
        who: its name in the recipe.
        section: that names it.
    """
    if teacher is None:
        return
    strangers = list(of_other_states(teacher, parts, who, section))
    if strangers:
        yield from strangers
        return
    flow, own = teacher.flow, teacher.spec
    if not (flow.objective.generates and flow.objective.serves("velocity", flow.source)):
        message = f"the {who} has no velocity: it was trained by {type(flow.objective).__name__}"
        yield Clash(section, "model", f"{message}; take a run of a flow")
    if path is not None and (other := another_way(flow.path, path)):
        message = f"the {who} was trained on points of {other}; train both on the same path"
        yield Clash(section, "path", message)
    source, spec = parts.get("source"), parts.get("spec")
    if isinstance(source, Source) and (flow.source.gaussian, flow.source.std) != (
        source.gaussian,
        source.std,
    ):
        message = f"the {who} begins at {_noise(flow.source)}, and this flow at {_noise(source)}"
        yield Clash(section, "source", f"{message}; train both with the same source")
    if not isinstance(spec, Spec):
        return
    every = frozenset(own.named("inform"))
    missing = every - spec.conditions.keys()
    if missing and not flow.objective.withholds(missing, every):
        names = ", ".join(f"'{name}'" for name in sorted(missing))
        message = f"the {who} was always told {names}, which these data do not tell"
        yield Clash(section, "data", f"{message}; train it on the same data, or with condition_dropout")
    for name in sorted(every & spec.conditions.keys()):
        here, there = spec.conditions[name], own.conditions[name]
        if (here.classes, here.shape) != (there.classes, there.shape):
            yield Clash(section, "data", f"the {who} was told another '{name}': {there}, and here {here}")


def of_other_states(
    teacher: Trained | None, parts: Parts, who: str = "teacher", section: str = "objective"
) -> Iterable[Clash]:
    """A run whose states have another shape."""
    spec = parts.get("spec")
    if teacher is None or not isinstance(spec, Spec) or spec.event_shape() == teacher.spec.event_shape():
        return
    message = f"the {who} knows states of shape {teacher.spec.event_shape()}, and these are of shape"
    yield Clash(section, "data", f"{message} {spec.event_shape()}; train it with the same data and codec")


def _noise(source: Source) -> str:
    return f"{type(source).__name__}" + (f" of deviation {source.std:g}" if source.std is not None else "")
