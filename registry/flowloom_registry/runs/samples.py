"""Samples of a run: drawn, shown, and kept as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.records import records
from flowloom.renderers import Figure, Renderer
from flowloom.seeds import derive
from flowloom.state import State
from flowloom_registry.runs.assembly import Assembly, rows_of
from flowloom_registry.runs.evaluation import Asked
from flowloom_registry.runs.folder import write_bytes, write_text
from flowloom_registry.runs.neighbours import nearest_rows
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.pictures import (
    Pictures,
    list_figures,
    listed,
    slug,
    write_figures,
    write_pictures,
)

_STRIP, _PAIRS = 10, 8
"""Pictures of a strip, and samples beside which the nearest training example is shown."""
_MOVING = 24
"""States of a player, where the solver makes as many steps."""
_LOOKED_AT = 5000
"""Rows among which real ones of the same classes are sought."""


def draw_for_report(assembly: Assembly, folder: Path, notes: Notes) -> None:
    """Draw the report's samples and a trajectory; write states, figures and pictures to ``folder``.

    What fails is left out with a note.
    """
    config = assembly.sample
    if not assembly.flow.objective.generates:
        if assembly.renderer is not None:
            _show_flow(assembly, assembly.renderer, folder, notes)
        return
    shown: dict[str, list[Figure]] = {"samples": [], "trajectory": [], "flow": []}
    pictures = Pictures()
    with notes.about("drawing samples"):
        cond = assembly.conditions_to_show(config.n)
        solution = assembly.flow.solve(config.n, seed=config.seed, batch=assembly.evaluate.batch, cond=cond)
        examples = assembly.drawn(solution, cond)
        save_examples(examples, folder / "samples.safetensors")
        if assembly.renderer is not None:
            one = _Showing(assembly, assembly.renderer, examples, solution.x)
            with notes.about("showing samples"):
                shown["samples"] = one.samples(pictures)
            with notes.about("showing a trajectory"):
                shown["trajectory"] = one.trajectory(pictures)
            with notes.about("showing the flow"):
                shown["flow"] = one.renderer.flow(assembly.flow, one.real)
            with notes.about("showing the nearest training examples"):
                one.neighbours(pictures)
    with notes.about("writing figures"):
        list_figures(shown, folder)
        write_pictures(pictures, folder)


def _show_flow(assembly: Assembly, renderer: Renderer, folder: Path, notes: Notes) -> None:
    """What is trained and draws nothing (a coder, say), beside held-out examples."""
    source = assembly.held_out() or assembly.data
    if source is None:
        return
    with notes.about("showing the flow"):
        real = rows_of(source, assembly.sample.n, derive(assembly.sample.seed, "real"))
        figures = renderer.flow(assembly.flow, real)
        if figures:
            list_figures({"flow": figures}, folder)


class _Showing:
    """What a renderer makes of one draw.

    Args:
        assembly: what was drawn from.
        renderer: shows it.
        examples: what was drawn, decoded.
        states: the same as states.
    """

    def __init__(self, assembly: Assembly, renderer: Renderer, examples: Examples, states: State) -> None:
        self.assembly, self.renderer = assembly, renderer
        self.examples, self.states = examples, states
        source = assembly.held_out() or assembly.data
        self.real = examples if source is None else _alike(source, assembly, examples)

    def samples(self, pictures: Pictures) -> list[Figure]:
        """Figures, and the strip."""
        spec = self.assembly.spec
        samples, real = self.examples.laid_out(spec), self.real.laid_out(spec)
        figures = self.renderer.samples(samples, real)
        for ones, name, into in (
            (samples, "generated example", pictures.samples),
            (real, "real example", pictures.real),
        ):
            few = ones.take(_spread(len(ones), _STRIP))
            into += [replace(f, title=f"{name} {i + 1}") for i, f in enumerate(self.renderer.tiles(few))]
        return figures

    def trajectory(self, pictures: Pictures) -> list[Figure]:
        """Figures, and the frames of a player; with scenes, those of samples and real examples as well."""
        config, flow = self.assembly.sample, self.assembly.flow
        few = _spread(len(self.examples), config.rows)
        alone = bool(pictures.samples)
        rows = few if alone else torch.arange(len(self.examples))
        chosen = {k: v[rows] for k, v in self.examples.cond.items()}
        keep = max(_MOVING, config.frames)
        walk = flow.solve(len(rows), seed=config.seed, keep=keep, cond=chosen)
        if not walk.trajectory:  # the solver keeps none
            return []
        moving = [Examples(self.assembly.decode(state, walk.cond), chosen) for state in walk.trajectory]
        spec = self.assembly.spec
        if alone:
            for time, group in zip(walk.times, moving, strict=True):
                tiles = self.renderer.tiles(group.laid_out(spec))
                pictures.frames.append((time, [replace(f, title=f"at t = {time:.2f}") for f in tiles]))
        else:
            groups = [group.laid_out(spec) for group in (*moving, self.examples, self.real)]
            scenes = self.renderer.scenes(groups)
            if scenes:
                *frames, samples, real = scenes
                pictures.alone = False
                pictures.samples = [replace(samples, title=f"{len(self.examples)} generated examples")]
                pictures.real = [replace(real, title=f"{len(self.real)} real examples")]
                pictures.frames = [
                    (time, [replace(frame, title=f"at t = {time:.2f}")])
                    for time, frame in zip(walk.times, frames, strict=True)
                ]
        still = _spread(len(moving), config.frames).tolist()
        shown = torch.arange(len(rows)) if alone else few
        states = [moving[i].take(shown).x for i in still]
        return self.renderer.trajectory([walk.times[i] for i in still], states)

    def neighbours(self, pictures: Pictures) -> None:
        """A few samples, each beside the training example nearest to it."""
        if self.assembly.data is None or not pictures.alone or not pictures.samples:
            return
        few = _spread(len(self.examples), _PAIRS)
        found = nearest_rows(self.assembly, self.states, few)
        if found is None:
            return
        spec = self.assembly.spec
        ours = self.renderer.tiles(self.examples.take(few).laid_out(spec))
        theirs = self.renderer.tiles(found.rows.laid_out(spec))
        pictures.searched = found.searched
        pictures.near = [
            (
                replace(a, title=f"generated example {i + 1}"),
                replace(b, title=f"training example nearest to {i + 1}"),
            )
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
        ]


def _alike(source: Dataset, assembly: Assembly, examples: Examples) -> Examples:
    """As many real rows as examples, any and not the first; of the same classes, where there are classes."""
    count, label = len(examples), assembly.class_condition()
    some = rows_of(source, max(count, _LOOKED_AT if label else count), derive(assembly.sample.seed, "real"))
    order = torch.randperm(len(some), generator=torch.Generator().manual_seed(assembly.sample.seed))
    some = some.take(order)
    if label is None or label not in examples.cond:
        return some.take(torch.arange(min(count, len(some))))
    waiting: dict[int, list[int]] = {}
    for row, value in enumerate(some.cond[label].tolist()):
        waiting.setdefault(value, []).append(row)
    chosen = []
    for value in examples.cond[label].tolist():
        rows = waiting.get(value)
        if rows:
            chosen.append(rows.pop(0))
    return some.take(torch.tensor(chosen)) if chosen else some.take(torch.arange(min(count, len(some))))


def _spread(count: int, few: int) -> Tensor:
    """Indices of ``few`` of ``count``, evenly spread, ends included."""
    return torch.linspace(0, count - 1, min(few, count)).round().long()


def save_examples(examples: Examples, file: Path) -> None:
    """Write states (``x``, or ``x.part``) and conditions (``cond.name``) as safetensors."""
    tensors = records(examples.x, "x", examples.cond)
    write_bytes(file, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))


def show_examples(examples: Examples, assembly: Assembly, file: Path, head: str) -> None:
    """Write examples to ``file`` and their figures beside it, and print ``head`` and where they are."""
    save_examples(examples, file)
    print(f"{head}: {file}")
    if assembly.renderer is not None:
        shown = examples.with_layout(assembly.spec)
        for figure in write_figures(assembly.renderer.samples(shown, shown), file.parent):
            print(figure)


def save_answers(tasks: Mapping[str, Asked], folder: Path) -> None:
    """Write the answers to every task and their figures, with an index.

    ``tasks.json`` says for each task where its answers lie (``task-NAME.safetensors``), and of each of its
    figures (``task-NAME-TITLE.png``) the file, title, kind and caption.
    """
    index: dict[str, Any] = {}
    for name, asked in tasks.items():
        answers = f"{slug(f'task {name}')}.safetensors"
        if asked.answers is not None:
            save_examples(asked.answers, folder / answers)
        index[name] = {
            "answers": None if asked.answers is None else answers,
            "figures": [listed(figure, folder) for figure in asked.figures],
        }
    write_text(folder / "tasks.json", json.dumps(index, indent=2) + "\n")
