"""Results of a study as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowloom_registry.studies.results import Record, Results
from flowloom_registry.studies.summary import by_solver, curve, grouped, main_records, spread, without_seed
from flowloom_registry.studies.table import remarks, tables

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } .soft { opacity: .7; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: #fff; border-radius: 6px; }
"""
_MARKS = "osD^vPX*"


def page(results: Results) -> str:
    """Tables and figures, with nothing that is loaded from elsewhere."""
    parts = [f"<h1>{escape(results.name)}</h1>", f'<p class="soft">{escape(results.summary)}</p>']
    for title, canvas, caption in figures(results):
        parts += [
            f"<h2>{escape(title)}</h2>",
            _image(canvas, title),
            f'<p class="soft">{escape(caption)}</p>',
        ]
    for title, columns, lines in tables(results):
        cells = "".join(f"<th>{escape(word)}</th>" for word in columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(w)}</td>' for w in row)}</tr>" for row in lines)
        parts += [f"<h2>{escape(title)}</h2>", f"<table><tr>{cells}</tr>{rows}</table>"]
    notes = "".join(f"<li>{escape(line)}</li>" for line in remarks(results))
    if notes:
        parts += ["<h2>What did not finish, or was left out</h2>", f"<ul>{notes}</ul>"]
    head = f'<meta charset="utf-8"><title>{escape(results.name)} · flowloom</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">\n{head}\n{chr(10).join(parts)}\n</html>\n'


def figures(results: Results) -> list[tuple[str, Figure, str]]:
    """Title, figure and caption of what there is to plot."""
    found = []
    same = (
        "0 is training data, 1 the baseline (a Gaussian fitted to it, say), so that all data stand in one "
        "plot. Bars: deviations."
    )
    swept = [r for r in curve(results.records) if r.quality is not None]
    if len({record.evaluations for record in swept}) > 1:
        canvas = _curves(results, swept, normal=True)
        found.append(("Quality against network evaluations", canvas, same))
    if len({record.evaluations for record in curve(results.records)}) > 1 and len(results.axes) > 1:
        canvas = _panels(results)
        found.append(
            ("Every metric in its own units", canvas, "Dotted: training data. Dashed: the baseline.")
        )
    timed = [r for r in main_records(results.records) if r.quality is not None and r.train_seconds]
    if timed:
        found.append(("Quality against training time", _times(results, timed), same))
    return found


def _styles(results: Results) -> dict[tuple[object, ...], dict[str, object]]:
    """A colour for each value of the first axis, a mark for each of the others."""
    groups = [*grouped(results.records, without_seed), *grouped(results.records, by_solver)]
    first = list(dict.fromkeys(key[0] for key in groups))
    rest = list(dict.fromkeys(key[1:] for key in groups))
    return {
        key: {
            "color": f"C{first.index(key[0]) % 10}",
            "marker": _MARKS[rest.index(key[1:]) % len(_MARKS)],
            "linestyle": ("-", "--", "-.", ":")[rest.index(key[1:]) % 4],
        }
        for key in groups
    }


def _curves(results: Results, records: Sequence[Record], normal: bool) -> Figure:
    canvas = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = canvas.subplots()
    _draw(axes, results, records, normal)
    axes.axhline(0, color="gray", linestyle=":", linewidth=1)
    axes.axhline(1, color="gray", linestyle="--", linewidth=1)
    axes.set(ylabel="quality (less is better)")
    values = [r.quality for r in records if r.quality is not None]
    if max(values) > 20:
        axes.set_yscale("symlog", linthresh=1)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def _draw(axes: Axes, results: Results, records: Sequence[Record], normal: bool) -> None:
    styles = _styles(results)
    for key, group in grouped(records, by_solver).items():
        points = []
        for (n,), there in grouped(group, lambda record: (record.evaluations,)).items():
            found = spread((r.quality if normal else r.value) for r in there)
            if found is not None:
                points.append((n, found.mean, found.deviation or 0.0))
        if points:
            x, y, bars = zip(*points, strict=True)
            label = " · ".join(str(word) for word in key if word)
            axes.errorbar(x, y, bars, label=label, ms=4, lw=1.3, capsize=2, **styles[key])  # type: ignore[arg-type]
    at = sorted({record.evaluations for record in records if record.evaluations})
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [str(n) for n in at], minor=False)
    axes.set(xlabel="network evaluations a sample")
    axes.grid(alpha=0.3)


def _panels(results: Results) -> Figure:
    """One panel for each value of the axes after the first: its own metric in its own units."""
    panels = grouped(curve(results.records), lambda record: tuple(record.labels.values())[1:])
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    canvas = Figure(figsize=(3.9 * columns, 3.1 * height), layout="constrained")
    places = canvas.subplots(height, columns, squeeze=False).flatten()
    for axes, (key, records) in zip(places, panels.items(), strict=False):
        _draw(axes, results, records, normal=False)
        for name, line in (("floor", ":"), ("baseline", "--")):
            level = spread(getattr(record, name) for record in records)
            if level is not None:
                axes.axhline(level.mean, color="gray", linestyle=line, linewidth=1)
        axes.set_title(" · ".join(map(str, key)), fontsize=10)
        axes.set_ylabel(f"{records[0].metric} ({records[0].better} is better)", fontsize=8)
        axes.legend(frameon=False, fontsize=7)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    return canvas


def _times(results: Results, records: Sequence[Record]) -> Figure:
    canvas = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = canvas.subplots()
    styles = _styles(results)
    for key, group in grouped(records, without_seed).items():
        seconds, found = spread(r.train_seconds for r in group), spread(r.quality for r in group)
        if seconds is None or found is None:
            continue
        style = {k: v for k, v in styles[key].items() if k != "linestyle"}
        bars = {"xerr": seconds.deviation or 0.0, "yerr": found.deviation or 0.0}
        label = " · ".join(map(str, key))
        axes.errorbar(seconds.mean, found.mean, label=label, ls="", ms=6, capsize=2, **bars, **style)  # type: ignore[arg-type]
    axes.axhline(0, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="seconds of training", ylabel="quality (less is better)")
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def _image(canvas: Figure, title: str) -> str:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'
