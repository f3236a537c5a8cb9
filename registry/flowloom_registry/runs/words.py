"""What a run says of itself before its first step, and what to do after its last."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.progress import is_quiet

__all__ = ["opening", "say"]


def opening(
    assembly: Assembly, out: Path, environment: Mapping[str, Any], parameters: int, *, begun: bool
) -> list[str]:
    """Data, network, training and folder, a line each.

    Args:
        assembly: what will be carried out.
        out: the run folder.
        environment: as `flowloom_registry.runs.environment.describe` has it.
        parameters: that are trained.
        begun: whether the run goes on.
    """
    config, data, spec = assembly.train, assembly.data, assembly.spec
    shape = ", ".join(f"{n} {_shape(p.shape)}" for n, p in spec.parts.items()) or _shape(spec.shape)
    rows = "none, states of " if data is None else f"{type(data).__name__}, {len(data):,} rows of "
    told = spec.told(spec.conditions)
    given = f", given {', '.join(told)}" if told else ""
    threads = f", {environment['threads']} threads" if environment["device"] == "cpu" else ""
    objective = type(assembly.flow.objective).__name__
    stage = assembly.built.recipe.stage
    summary = assembly.built.recipe.summary if stage is None or stage.last else ""  # it is of the whole
    lines = {
        "run": f"{assembly.name}: {summary}".removesuffix(": "),
        "data": f"{rows}{shape}{given}",
        "network": f"{type(assembly.flow.model).__name__}, {parameters:,} parameters",
        "training": f"{objective}, {config.steps:,} steps of {config.batch} examples",
        "device": f"{environment['device']} ({environment['device_name']}{threads})",
        "folder": f"{out}{', which goes on where it stopped' if begun else ''}",
    }
    return [f"{name:<9} {told}" for name, told in lines.items()]


def say(lines: Iterable[str]) -> None:
    """Print lines for whoever follows the run; nothing inside `quietly`."""
    if not is_quiet():
        print("\n".join(lines), file=sys.stderr, flush=True)


def _shape(shape: Any) -> str:
    return " × ".join(map(str, shape)) or "1"
