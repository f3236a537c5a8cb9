"""What a run's data looked like, kept so that other data under the same name is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flowloom.errors import RunError
from flowloom.spec import Spec
from flowloom_registry.runs.folder import read_json


def spec_as_json(spec: Spec) -> dict[str, Any]:
    """Shapes, tokens and names of classes as plain data."""
    return {
        "shape": list(spec.shape),
        "vocab": spec.vocab,
        "tokens": list(spec.tokens),
        "conditions": {
            name: {"classes": c.classes, "shape": list(c.shape), "names": list(c.names)}
            for name, c in spec.conditions.items()
        },
        "parts": {name: spec_as_json(part) for name, part in spec.parts.items()},
    }


def require_same_data(file: Path, spec: Spec) -> None:
    """Compare a run's ``data.json`` with the data as it is now.

    Ids mean nothing without their tokens: a text with as many other characters would load, and decode to
    nonsense.

    Raises:
        RunError: they differ, or the file is damaged; the message names the first difference.
    """
    if not file.is_file():
        return
    before = read_json(file)
    difference = _difference(before, spec_as_json(spec), "")
    if difference:
        raise RunError(
            f"the data is not what {file.parent} was trained on: {difference}; put the old data back, or train anew"
        )


def _difference(before: Any, now: Any, where: str) -> str:
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            found = _difference(before.get(key), now.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        i = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
        return f"{where}[{i}] was {before[i]!r} and is {now[i]!r}"
    return f"{where} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(value)} entries)"
