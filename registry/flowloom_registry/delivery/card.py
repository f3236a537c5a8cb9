"""The card of a run: a README of its recipe, table and pictures, made from its files alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flowloom_registry.durations import duration
from flowloom_registry.runs.folder import RunFolder, read_json
from flowloom_registry.runs.found import Found, find

__all__ = ["card"]


def card(folder: RunFolder, repo: str) -> str:
    """Markdown with the metadata that the Hugging Face hub reads.

    Args:
        folder: of a finished run.
        repo: how others call it.
    """
    found = find(folder)
    name = found.said("name") or folder.path.name
    lines = ["---", *_metadata(found, name), "---", "", f"# {_line(name)}", ""]
    lines += [_line(found.said("summary")), ""] if found.said("summary") else []
    if found.said("paper"):
        lines += [f"Paper: {_line(found.said('paper'))}", ""]
    picture = _picture(folder)
    lines += [f"![samples]({picture})", ""] if picture else []
    lines += ["## Use", "", "```", "pip install 'flowloom[hub]'", f"flowloom pull {repo} run"]
    lines += ["flowloom sample run -n 16", "```", ""]
    lines += ["```python", "from flowloom_registry import load", "", 'x = load("run").sample(16)', "```", ""]
    lines += _table("Evaluation", found.evaluation.get("columns", {}), found)
    for task, told in found.evaluation.get("tasks", {}).items():
        lines += _table(
            f"Task {_line(str(task))}", told.get("columns", {}) if isinstance(told, dict) else {}, found
        )
    lines += ["## Facts", "", *(f"* {text}" for text in _facts(found)), ""]
    lines += [
        "## Recipe",
        "",
        "```yaml",
        (found.written or found.recipe).replace("```", "'''").rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _metadata(found: Found, name: str) -> list[str]:
    tags = ["flow-matching", "flowloom"]
    lines = ["library_name: flowloom", f"tags: {json.dumps(tags)}"]
    values = found.evaluation.get("columns", {}).get("samples", {})
    results = [
        {"type": str(key), "name": str(key), "value": value}
        for key, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]
    if results:
        entry = {
            "task": {"type": "unconditional-image-generation" if _images(found) else "other"},
            "dataset": {"type": "other", "name": "held-out rows of the recipe's data"},
            "metrics": results,
        }
        # JSON is YAML, and quotes whatever needs quotes.
        lines += [f"model-index: {json.dumps([{'name': name, 'results': [entry]}])}"]
    return lines


def _images(found: Found) -> bool:
    shape = found.data.get("spec", {}).get("shape") if isinstance(found.data.get("spec"), dict) else None
    return isinstance(shape, list) and len(shape) == 3


def _picture(folder: RunFolder) -> str:
    """The first picture of samples, as a path in the run."""
    file = folder.samples / "figures.json"
    if not file.is_file():
        return ""
    for one in read_json(file).get("figures", []):
        name = str(one.get("file", ""))
        if one.get("shows") == "samples" and one.get("mime") in ("image/png", "image/svg+xml"):
            return f"samples/{name}"
    return ""


def _table(title: str, columns: Mapping[str, Any], found: Found) -> list[str]:
    names = list(dict.fromkeys(metric for values in columns.values() for metric in values))
    if not names:
        return []
    better = found.evaluation.get("better", {})
    arrows = {"lower": " ↓", "higher": " ↑"}
    lines = [
        f"## {title}",
        "",
        f"| metric | {' | '.join(map(_line, columns))} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in names:
        cells = [_number(values.get(name)) for values in columns.values()]
        lines.append(f"| {_line(name)}{arrows.get(better.get(name, ''), '')} | {' | '.join(cells)} |")
    return [*lines, ""]


def _facts(found: Found) -> list[str]:
    facts = []
    if found.parameters is not None:
        facts.append(f"{found.parameters:,} trained parameters")
    if found.train_seconds is not None:
        facts.append(
            f"{duration(found.train_seconds)} of training on "
            f"{_line(str(found.environment.get('device_name')))}"
        )
    facts.append(f"{found.status['step']} steps, seed {found.said('seed') or 0}")
    facts.append(f"flowloom {found.environment.get('flowloom')}, torch {found.environment.get('torch')}")
    nfe = found.evaluation.get("nfe")
    return [*facts, f"{nfe} network evaluations a sample"] if isinstance(nfe, int) else facts


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "-"


def _line(text: str) -> str:
    """Text that stays on its line and in its cell."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())
