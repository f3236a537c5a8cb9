"""Plots of a run: everything that training logged, and quality against network evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from flowloom_registry.pages import Line, Plot, plots

__all__ = ["sweep", "training"]

_MOST = 500
"""Points of a curve; more of them are averaged in groups."""
_BESIDE = {"step", "seconds", "examples_per_second"}


def training(lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Losses with their parts and looks at held-out data, learning rates, and norms of gradients."""
    names = [name for name in dict.fromkeys(n for line in lines for n in line) if name not in _BESIDE]
    curves = [(name, *_curve(lines, name)) for name in names]
    dense = max((len(x) for _, x, _ in curves), default=0)
    panels: dict[str, list[Line]] = {"Loss": [], "Learning rate": [], "Gradient norm": []}
    looks = False
    for name, x, y in curves:
        where = next(
            (
                p
                for p, start in (("Learning rate", "lr"), ("Gradient norm", "grad_norm"))
                if name.rpartition("/")[2].startswith(start)
            ),
            "Loss",
        )
        # Looks at held-out data are fewer than logged steps, and show as dots; so does what has no length.
        sparse = where == "Loss" and len(x) < dense
        looks |= sparse
        panels[where].append(Line(name, *_thinned(x, y), style="dots" if sparse or len(x) == 1 else "line"))
    wide = _wide(panels["Loss"])
    group = max((-(-len(x) // _MOST) for _, x, _ in curves), default=1)
    caption = "Looks at held-out data are dots. " if looks else ""
    if group > 1:
        caption += f"Points are means of about {group} logged lines. "
    return plots(
        [
            Plot(title, some, "step", log_y=wide if title == "Loss" else False)
            for title, some in panels.items()
        ],
        caption=caption.strip(),
        height=280,
    )


def sweep(evaluation: Mapping[str, Any], meaning: Mapping[str, str], *, samples: str, floor: str) -> Markup:
    """A panel a metric: its value against network evaluations, what real data scores, the recipe's solver.

    Args:
        evaluation: as ``evaluation.json`` holds it.
        meaning: of the metrics, where it is known.
        samples: name of the column of samples, for the recipe's own solver.
        floor: name of the column of training data.
    """
    points, better = evaluation.get("sweep", []), evaluation.get("better", {})
    # A value that was never a number is None, and has nothing to show.
    known = (n for point in points for n, value in point["values"].items() if value is not None)
    names = [name for name in dict.fromkeys(known) if name in better]
    columns, own = evaluation.get("columns", {}), evaluation.get("nfe", 0)
    panels = []
    for name in names:
        lines = []
        for solver in dict.fromkeys(point["solver"] for point in points):
            there = sorted((p["nfe"], p["values"].get(name)) for p in points if p["solver"] == solver)
            lines.append(Line(solver, [x for x, _ in there], [y for _, y in there], "dots"))
        spent = sorted({x for line in lines for x in line.x} | ({own} if own else set()))
        ours = columns.get(samples, {}).get(name)
        if own and ours is not None:
            lines.append(Line("this recipe", [own], [ours], "mark"))
        real = columns.get(floor, {}).get(name)
        if real is not None:
            lines.append(Line(floor, spent, [real] * len(spent), "level"))
        title = f"{name.replace('_', ' ')} {'↓' if better[name] == 'lower' else '↑'}"
        log = _wide(lines)
        panels.append(Plot(title, lines, "evaluations", log_x=2, log_y=log, hint=meaning.get(name, "")))
    numbers = {point.get("n") for point in points}
    n = f" ({numbers.pop()} examples a point)" if len(numbers) == 1 and None not in numbers else ""
    return plots(
        panels,
        caption=f"Every solver from the same noise{n}, the recipe's own from more of it. Evaluations of the "
        "network are counted, both branches of guidance included.",
    )


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    there = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), (int, float))]
    return [float(x) for x, _ in there], [float(y) for _, y in there]


def _thinned(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    group = -(-len(x) // _MOST)
    if group <= 1:
        return x, y
    cuts = range(0, len(x), group)
    return [x[min(i + group, len(x)) - 1] for i in cuts], [
        sum(y[i : i + group]) / len(y[i : i + group]) for i in cuts
    ]


def _wide(lines: Sequence[Line]) -> bool:
    """Whether values reach over more than a factor of ten."""
    values = [v for line in lines for v in line.y if v is not None]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)
