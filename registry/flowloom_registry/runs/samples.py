"""Samples of a run: drawn, shown, and kept as safetensors."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from flowloom.data import Examples
from flowloom.renderers import Figure, Renderer
from flowloom.state import Cond, leaves
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.folder import write_bytes
from flowloom_registry.runs.notes import Notes

_ENDINGS = {"image/png": "png", "image/svg+xml": "svg", "audio/wav": "wav", "text/html": "html"}


def draw_for_report(assembly: Assembly, folder: Path, notes: Notes) -> list[Figure]:
    """Draw the report's samples and a trajectory; write states and figures to ``folder``.

    What fails is left out with a note.
    """
    config = assembly.sample
    figures: list[Figure] = []
    if not assembly.flow.objective.generates:
        return figures
    with notes.about("drawing samples"):
        cond = assembly.conditions_to_show(config.n)
        solution = assembly.flow.solve(config.n, seed=config.seed, batch=assembly.evaluate.batch, cond=cond)
        examples = assembly.drawn(solution, cond)
        save_examples(examples, folder / "samples.safetensors")
        if assembly.renderer is not None:
            figures = _rendered(assembly, assembly.renderer, examples, cond, notes)
    with notes.about("writing figures"):
        save_figures(figures, folder)
    return figures


def _rendered(
    assembly: Assembly, renderer: Renderer, examples: Examples, cond: Cond, notes: Notes
) -> list[Figure]:
    config, spec = assembly.sample, assembly.spec
    figures: list[Figure] = []
    source = assembly.held_out() or assembly.data
    real = examples if source is None else source.take(torch.arange(min(config.n, len(source))))
    with notes.about("showing samples"):
        figures += renderer.samples(examples.laid_out(spec), real.laid_out(spec))
    with notes.about("showing a trajectory"):
        few = torch.linspace(0, config.n - 1, min(config.rows, config.n)).long()
        chosen = {k: v[few] for k, v in cond.items()}
        walk = assembly.flow.solve(len(few), seed=config.seed, keep=config.frames, cond=chosen)
        states = [assembly.decode(state, walk.cond) for state in walk.trajectory]
        figures += renderer.trajectory(walk.times, states)
    with notes.about("showing the flow"):
        figures += renderer.flow(assembly.flow, real)
    return figures


def save_examples(examples: Examples, file: Path) -> None:
    """Write states (``x``, or ``x.part``) and conditions (``cond.name``) as safetensors."""
    tensors: dict[str, Tensor] = {f"x.{n}" if n else "x": v for n, v in leaves(examples.x)}
    tensors |= {f"cond.{k}": v for k, v in examples.cond.items()}
    write_bytes(file, save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))


def show_examples(examples: Examples, assembly: Assembly, file: Path, head: str) -> None:
    """Write examples to ``file`` and their figures beside it, and print ``head`` and where they are."""
    save_examples(examples, file)
    print(f"{head}: {file}")
    if assembly.renderer is not None:
        shown = examples if examples.layout is not None else examples.laid_out(assembly.spec)
        for figure in save_figures(assembly.renderer.samples(shown, shown), file.parent):
            print(figure)


def save_figures(figures: list[Figure], folder: Path) -> list[Path]:
    """Write every figure to a file named for its title."""
    written = []
    for figure in figures:
        slug = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-")
        file = folder / f"{slug}.{_ENDINGS.get(figure.mime, 'bin')}"
        write_bytes(file, figure.data)
        written.append(file)
    return written
