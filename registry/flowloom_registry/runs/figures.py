"""Plots that every run's report has: loss, and quality against network evaluations."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Canvas

from flowloom.renderers import Figure
from flowloom_registry.runs.evaluation import Evaluation, SweepPoint


def loss_curve(lines: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The logged loss, with a running mean where there is enough of it."""
    if not lines:
        return None
    steps, losses = [line["step"] for line in lines], [line["loss"] for line in lines]
    canvas = Canvas(figsize=(7.5, 3.2), layout="constrained")
    axes = canvas.subplots()
    window = len(losses) // 20
    axes.plot(steps, losses, linewidth=0.8, alpha=0.5 if window > 1 else 1.0, label="loss")
    if window > 1:
        sums = [sum(losses[i - window : i]) / window for i in range(window, len(losses) + 1)]
        axes.plot(steps[window - 1 :], sums, linewidth=1.8, label=f"mean of {window} lines")
        axes.legend(frameon=False)
    if min(losses) > 0 and max(losses) > 20 * min(losses):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    return Figure("Training loss", "image/svg+xml", _svg(canvas))


def look_curve(lines: Sequence[Mapping[str, Any]], name: str) -> Figure | None:
    """The value ``name`` at every look at held-out data."""
    looks = [(line["step"], line[name]) for line in lines if name in line]
    if not looks:
        return None
    canvas = Canvas(figsize=(7.5, 2.6), layout="constrained")
    axes = canvas.subplots()
    axes.plot([step for step, _ in looks], [value for _, value in looks], "o-", ms=3)
    axes.set(xlabel="step", ylabel=name)
    axes.grid(alpha=0.3)
    return Figure("Looks at held-out data", "image/svg+xml", _svg(canvas))


def sweep_plots(evaluation: Evaluation) -> list[Figure]:
    """One panel a metric: its value against network evaluations, a line a solver, with the floor."""
    named = dict.fromkeys(m for point in evaluation.sweep for m in point.values)
    # What is NaN at every point has no axis.
    finite = {m for point in evaluation.sweep for m, v in point.values.items() if math.isfinite(v)}
    metrics = [m for m in named if m in evaluation.better and m in finite]
    if not metrics:
        return []
    columns = min(3, len(metrics))
    height = -(-len(metrics) // columns)
    canvas = Canvas(figsize=(3.9 * columns, 3.0 * height), layout="constrained")
    panels = canvas.subplots(height, columns, squeeze=False).flatten()
    by_solver: dict[str, list[SweepPoint]] = {}
    for point in evaluation.sweep:
        by_solver.setdefault(point.solver, []).append(point)
    for axes, metric in zip(panels, metrics, strict=False):
        for name, points in by_solver.items():
            there = [p for p in points if metric in p.values]
            axes.plot([p.nfe for p in there], [p.values[metric] for p in there], "o-", ms=3, label=name)
        floor = evaluation.columns.get("training data", {}).get(metric)
        if floor is not None:
            axes.axhline(floor, color="gray", linestyle=":", linewidth=1, label="training data")
        axes.set(title=f"{metric} ({evaluation.better[metric]} is better)", xlabel="network evaluations")
        axes.set_xscale("log", base=2)
        spent = sorted({p.nfe for p in evaluation.sweep if p.values})
        axes.set_xticks(spent, [str(n) for n in spent], minor=False)
        axes.grid(alpha=0.3)
    panels[0].legend(frameon=False, fontsize=8)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    caption = "Every solver from the same noise. Evaluations are counted, both branches of guidance included."
    return [Figure("Quality against network evaluations", "image/svg+xml", _svg(canvas), caption)]


def _svg(canvas: Canvas) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
