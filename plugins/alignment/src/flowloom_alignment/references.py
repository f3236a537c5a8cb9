"""Whether the flow that a policy starts from can be read as the policy is."""

from __future__ import annotations

from collections.abc import Iterable

from flowloom.clashes import Clash
from flowloom.objectives import FlowMatching
from flowloom.paths import another_way
from flowloom.paths.conversions import kind_name
from flowloom.trained import Trained

__all__ = ["misread"]


def misread(reference: Trained | None, objective: FlowMatching) -> Iterable[Clash]:
    """A reference whose network answers with another quantity, or was trained on another path."""
    if reference is None:
        return
    old = reference.flow
    if old.objective.kind != objective.kind:
        message = (
            f"the reference answers with {kind_name(old.objective.kind)}, and would be read as "
            f"{kind_name(objective.kind)}; train both with the same predict"
        )
        yield Clash("objective", "model", message)
    elif other := another_way(old.path, objective.path):
        message = f"the reference was trained on points of {other}; train both on the same path"
        yield Clash("objective", "path", message)
