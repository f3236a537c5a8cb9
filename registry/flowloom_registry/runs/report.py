"""``report.html``: one self-contained file to look at."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

from flowloom.renderers import Figure
from flowloom_registry.runs.evaluation import Evaluation
from flowloom_registry.runs.figures import look_curve, loss_curve, sweep_plots
from flowloom_registry.runs.folder import RunFolder, read_text, write_text
from flowloom_registry.runs.table import number, rows


def write_report(
    folder: RunFolder,
    *,
    title: str,
    summary: str,
    paper: str,
    environment: Mapping[str, Any],
    evaluation: Evaluation | None,
    figures: Sequence[Figure],
    validated: str | None = None,
) -> None:
    """Write the report of a run.

    Args:
        folder: of the run; its metrics and recipe are read from there.
        title: the recipe's name.
        summary: the recipe's one line.
        paper: its arXiv id, may be empty.
        environment: what it ran on.
        evaluation: the table and the sweep, where there is one.
        figures: samples and trajectories.
        validated: name under which looks at held-out data were logged, where there were any.
    """
    lines = folder.read_metrics()
    curve = loss_curve(lines)
    blocks = [*figures, *(sweep_plots(evaluation) if evaluation is not None else [])]
    if curve is not None:
        blocks.append(curve)
    looks = look_curve(lines, validated) if validated is not None else None
    if looks is not None:
        blocks.append(looks)
    template = files("flowloom_registry.runs").joinpath("report.html.j2").read_text(encoding="utf-8")
    jinja = Environment(autoescape=select_autoescape(default=True), undefined=StrictUndefined)
    html = jinja.from_string(template).render(
        title=title,
        summary=summary,
        paper=paper,
        steps=lines[-1]["step"] if lines else 0,
        environment=environment,
        evaluation=evaluation,
        rows=rows,
        number=number,
        blocks=[(block, embed(block)) for block in blocks],
        recipe=read_text(folder.recipe),
    )
    write_text(folder.report, html)


def embed(figure: Figure) -> Markup:
    """A figure as HTML with its content inside.

    HTML figures come from renderers, which escape what they show.
    """
    if figure.mime == "text/html":
        return Markup(figure.data.decode())
    uri = f"data:{figure.mime};base64,{base64.b64encode(figure.data).decode()}"
    if figure.mime.startswith("audio/"):
        return Markup('<audio controls src="{}"></audio>').format(uri)
    return Markup('<img alt="{}" src="{}">').format(figure.title, uri)
