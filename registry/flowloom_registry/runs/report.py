"""``report.html``: a run to look at, made from nothing but the files in its folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from flowloom.renderers import Figure
from flowloom_registry.durations import duration
from flowloom_registry.pages import (
    Cell,
    Column,
    Frame,
    Section,
    Strip,
    badges,
    bar,
    command,
    embed,
    notes,
    page,
    player,
    render,
    strips,
    table,
)
from flowloom_registry.pages.table import number
from flowloom_registry.runs import curves
from flowloom_registry.runs.evaluation import SAMPLES, SEEN
from flowloom_registry.runs.folder import RunFolder, write_text
from flowloom_registry.runs.found import Found, find
from flowloom_registry.runs.trust import needs_trust
from flowloom_registry.runs.verdict import beats, standing, verdict
from flowloom_registry.runs.written import marked_lines

__all__ = ["write_report"]

_ARROWS = {"lower": "↓", "higher": "↑"}


def write_report(folder: RunFolder) -> list[str]:
    """Make the report of a run anew from its files.

    Returns:
        A line for every file that is damaged, which the report does without.

    Raises:
        RunError: it is no run, or the report cannot be written.
    """
    found = find(folder)
    sections = [
        _quality(found),
        _tasks(found),
        _samples(found),
        _trajectory(found),
        _copying(found),
        _training(found),
        _use(found),
        _recipe(found),
        _environment(found),
    ]
    title = found.said("name") or folder.path.name
    write_text(folder.report, page(title, *(one for one in sections if one is not None), head=_head(found)))
    return found.problems


def _head(found: Found) -> Markup:
    """Everything above the fold."""
    return render(
        "flowloom_registry.runs",
        "report.html.j2",
        summary=found.said("summary"),
        paper=found.said("paper"),
        problems=notes(found.problems),
        pictures=_beside(found),
        verdict=verdict(found.evaluation, samples=SAMPLES, floor=SEEN, baseline=found.baseline),
        badges=badges(_facts(found)),
        command=command(_again(found), "make it again"),
    )


def _beside(found: Found) -> Markup:
    """Samples beside real ones: a strip of each, or a scene of each, or the first figure."""
    pictures = found.pictures
    if pictures.samples and pictures.alone:
        return strips([Strip("generated", pictures.samples), Strip("real, held out", pictures.real)])
    if pictures.samples:
        sides = zip(("generated", "real, held out"), (pictures.samples, pictures.real), strict=True)
        return Markup('<div class="pair">{}</div>').format(
            Markup("").join(
                Markup('<div><span class="label">{}</span>{}</div>').format(
                    label, Markup("").join(map(embed, ones))
                )
                for label, ones in sides
            )
        )
    return Markup("").join(map(_figure, found.figures.get("samples", ())[:1]))


def _facts(found: Found) -> dict[str, str]:
    """The badges."""
    environment, evaluation = found.environment, found.evaluation
    parameters, seconds = found.parameters, found.train_seconds
    nfe, commit = evaluation.get("nfe"), environment.get("commit")
    device = str(environment.get("device_name") or environment.get("device") or "")
    versions = [f"flowloom {environment.get('flowloom', '?')}", f"torch {environment.get('torch', '?')}"]
    return {
        "parameters": "" if parameters is None else f"{parameters:,}",
        "steps": f"{found.status['step']:,}",
        "training": "" if seconds is None else duration(seconds),
        "evaluations a sample": str(nfe) if nfe else "",
        "device": device,
        "date": str(environment.get("date") or "")[:10],
        "seed": found.said("seed") or "0",
        "versions": ", ".join(versions),
        "commit": str(commit or ""),
        "state": str(found.status["state"]) if found.status["state"] in ("training", "failed") else "",
    }


def _again(found: Found) -> str:
    """The command that began the run; one that needs its folder where it was begun from Python."""
    told = found.environment.get("command")
    return str(told) if told else shlex.join(["flowloom", "run", str(found.folder.recipe)])


def _quality(found: Found) -> Section | None:
    evaluation = found.evaluation
    better, meaning = evaluation.get("better", {}), evaluation.get("meaning", {})
    columns, scores = evaluation.get("columns", {}), evaluation.get("scores", {})
    parts = []
    if columns:
        caption = (
            f"{evaluation.get('n')} examples in every column, compared with {evaluation.get('reference')} "
            f"held-out examples; {evaluation.get('nfe')} network evaluations an example, "
            f"{duration(evaluation.get('seconds') or 0.0)} for all samples. Real data itself differs from "
            "held-out data by as much as its column says."
        )
        parts += [
            _table(columns, better, meaning, found.baseline),
            Markup('<p class="soft">{}</p>').format(caption),
        ]
    if scores:
        of_itself = SAMPLES in scores
        head = "What the flow does" if of_itself else "What the flow says of held-out examples"
        parts.append(Markup("<h3>{}</h3>").format(head))
        caption = "" if of_itself else f"Means over {evaluation.get('n')} examples a column."
        parts.append(_table(scores, better, meaning, "", head="score", caption=caption))
    plot = curves.sweep(evaluation, meaning, samples=SAMPLES, floor=SEEN)
    if plot:
        parts += [Markup("<h3>Quality against network evaluations</h3>"), plot]
    parts.append(notes(map(str, evaluation.get("notes", ()))))
    body = Markup("\n").join(part for part in parts if part)
    return Section("Quality", body) if body else None


def _table(
    columns: Mapping[str, Mapping[str, float | None]],
    better: Mapping[str, str],
    meaning: Mapping[str, str],
    baseline: str,
    *,
    head: str = "metric",
    caption: str = "",
) -> Markup:
    """Values by name, the better of samples and baseline marked, and where samples stand between them."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    ways = {name: _way(name, columns, better, baseline) for name in names}
    heads = [Column(head, text=True), *(Column(name) for name in columns)]
    if any(ways.values()):
        heads.append(
            Column(f"{baseline} → {SEEN}", f"how far samples are on the way from {baseline} to {SEEN}")
        )
    rows = []
    for name in names:
        good = better.get(name, "")
        row = [
            Cell(
                f"{name.replace('_', ' ')} {_ARROWS.get(good, '')}".strip(), name, _hint(name, good, meaning)
            )
        ]
        for column, values in columns.items():
            other = {SAMPLES: baseline, baseline: SAMPLES}.get(column)
            against = columns.get(other or "", {}).get(name)
            value = values.get(name)
            row.append(
                Cell(
                    number(value), float("nan") if value is None else value, best=beats(value, against, good)
                )
            )
        if any(ways.values()):
            way = ways[name]
            row.append(Cell("" if way is None else way[1], float("nan") if way is None else way[0]))
        rows.append(row)
    return table(heads, rows, caption=caption)


def _way(
    name: str, columns: Mapping[str, Mapping[str, float | None]], better: Mapping[str, str], baseline: str
) -> tuple[float, Markup] | None:
    values = [columns.get(column, {}).get(name) for column in (SAMPLES, SEEN, baseline)]
    place = standing(*values)
    # Where the baseline is no worse than real data, there is no way from one to the other.
    if place is None or not beats(values[1], values[2], better.get(name, "")):
        return None
    if place > 1:
        words = f"beyond {SEEN}: {number(place)} of the way from {baseline}"
    else:
        words = (
            f"{number(place)} of the way from {baseline} to {SEEN}"
            if place >= 0
            else f"worse than the {baseline}"
        )
    return place, bar(place, words)


def _hint(name: str, good: str, meaning: Mapping[str, str]) -> str:
    return " ".join(word for word in (meaning.get(name, ""), f"({good} is better)" if good else "") if word)


def _tasks(found: Found) -> Section | None:
    parts = []
    for name, one in found.evaluation.get("tasks", {}).items():
        meaning = one.get("meaning", {})
        parts.append(Markup("<h3>{}</h3>").format(name))
        if one.get("columns"):
            parts.append(_table(one["columns"], one.get("better", {}), meaning, found.baseline))
        parts += [_figure(picture) for picture in found.answers.get(name, ())]
    body = Markup("\n").join(part for part in parts if part)
    words = "What the flow was asked, what it answered, and the truth."
    return Section("Tasks", body, words) if body else None


def _samples(found: Found) -> Section | None:
    # What stands at the top is not shown again.
    figures = list(found.figures.get("samples", ()))
    shown = figures if found.pictures.samples else figures[1:]
    return _figures("Samples", [*shown, *found.figures.get("flow", ())])


def _trajectory(found: Found) -> Section | None:
    stills = found.figures.get("trajectory", ())
    still = Markup("").join(map(_figure, stills))
    frames = [Frame(f"t = {time:.2f}", ones) for time, ones in found.pictures.frames if ones]
    body = player(frames, still)
    return Section("From source to data", body) if body else None


def _copying(found: Found) -> Section | None:
    pictures = found.pictures
    if not pictures.near:
        return None
    rows = strips(
        [
            Strip("generated", [a for a, _ in pictures.near]),
            Strip("nearest in the training data", [b for _, b in pictures.near]),
        ]
    )
    soft = (
        f"Below each sample the nearest of {pictures.searched:,} training examples, by the distance of the "
        "geometry of its states: a flow that copies shows the same twice."
    )
    return Section("Nearest training examples", rows, soft)


def _training(found: Found) -> Section | None:
    body = curves.training(found.metrics)
    seconds, last = found.train_seconds, found.metrics[-1] if found.metrics else {}
    soft = f"{last.get('step', 0):,} steps" + (f" in {duration(seconds)}" if seconds else "")
    return Section("Training", body, soft + ".") if body else None


def _use(found: Found) -> Section:
    if not found.folder.drawn.is_file():  # nothing is drawn from a coder or a classifier
        return Section("Files", _files(found))
    run = str(found.folder.path)
    conditions = found.data.get("conditions", {})
    trust = needs_trust(found.folder.recipe)
    option = ["--trust"] if trust else []
    shell, call = ["flowloom", "sample", run, "-n", "16", *option], ["16"]
    for name, one in conditions.items() if isinstance(conditions, dict) else ():
        if isinstance(one, dict) and one.get("classes") and not one.get("shape"):
            names = one.get("names") or []
            number = 0 if names else one["classes"] - 1
            shell += ["--cond", f"{name}={names[number] if names else number}"]
            call.append(f"{name}={number}")
            break
    opened = f"load({run!r}{', trust=True' if trust else ''})"
    code = f"from flowloom_registry import load\n\nx = {opened}.sample({', '.join(call)})"
    asked = [command(shlex.join([*words, *option]), f"task {name}") for name, words in _asking(found)]
    body = [*asked, command(shlex.join(shell), "pictures and tensors"), command(code, "in Python")]
    return Section("Sample from it", Markup("\n").join([*body, Markup("<h3>Files</h3>"), _files(found)]))


def _asking(found: Found) -> Iterator[tuple[str, list[str]]]:
    """Name and command line of every task that can be asked in words."""
    for name, one in found.evaluation.get("tasks", {}).items():
        example = one.get("example")
        if isinstance(example, Sequence) and len(example) == 2 and example[0]:
            out = ["-o", f"out{example[1]}"] if example[1] else []
            yield name, ["flowloom", "task", str(found.folder.path), name, str(example[0]), *out]


def _files(found: Found) -> Markup:
    folder = found.folder
    wanted = {
        folder.weights: "weights",
        folder.recipe: "resolved recipe",
        folder.written: "recipe as written",
        folder.samples / "samples.safetensors": "samples",
        folder.evaluation: "tables",
        folder.metrics: "what training logged",
        folder.environment: "environment",
        folder.data: "what the data looks like",
    }
    items = Markup("").join(
        _link(file, words, folder.report.parent) for file, words in wanted.items() if file.is_file()
    )
    return Markup('<ul class="files">{}</ul>').format(items)


def _link(file: Path, words: str, start: Path) -> Markup:
    near = os.path.relpath(file, start).replace(os.sep, "/")
    size = file.stat().st_size
    told = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
    return Markup('<li><a href="{}">{}</a> <span class="soft">{}, {}</span></li>').format(
        quote(near), near, words, told
    )


def _recipe(found: Found) -> Section | None:
    if not found.recipe:
        return None
    lines = found.recipe.splitlines()
    marked = marked_lines(found.written, found.recipe) if found.written else set()
    text = Markup("").join(
        Markup("<mark>{}</mark>").format(line or " ") if i + 1 in marked else escape(line + "\n")
        for i, line in enumerate(lines)
    )
    soft = "Marked lines are the author's, the others defaults." if marked else ""
    folded = Markup(
        '<details><summary>everything, with defaults, {} lines</summary><p class="soft">{}</p>'
        "<pre><code>{}</code></pre></details>"
    ).format(len(lines), soft, text)
    own = Markup("<pre><code>{}</code></pre>").format(found.written) if found.written else Markup("")
    return Section("Recipe", own + folded)


def _environment(found: Found) -> Section | None:
    rows = []
    for key, value in found.environment.items():
        told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        rows.append([key.replace("_", " "), told])
    if not rows:
        return None
    shown = table([Column("", sorts=False, text=True), Column("", sorts=False, text=True)], rows)
    return Section(
        "Environment", Markup("<details><summary>machine and versions</summary>{}</details>").format(shown)
    )


def _figures(title: str, figures: Sequence[Figure]) -> Section | None:
    body = Markup("\n").join(
        (Markup("<h3>{}</h3>").format(one.title) if i and one.title != title else Markup("")) + _figure(one)
        for i, one in enumerate(figures)
    )
    return Section(title, body) if body else None


def _figure(picture: Figure) -> Markup:
    below = (
        Markup('<figcaption class="soft">{}</figcaption>').format(picture.caption) if picture.caption else ""
    )
    return Markup("<figure>{}{}</figure>").format(embed(picture), below)
