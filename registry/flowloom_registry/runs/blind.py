"""Two runs side by side, and who looks or listens does not know which is which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup

from flowloom.errors import RunError
from flowloom.renderers import Figure
from flowloom.seeds import generator
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_registry.pages.media import embed
from flowloom_registry.pages.page import Section, page
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.open import open_run

__all__ = ["Pair", "blind_page", "blind_pairs"]


@dataclass(frozen=True)
class Pair:
    """What both runs made of one question.

    Args:
        asked: the question in words; empty where nothing was asked.
        sides: what is shown left and right.
        swapped: whether the second run is on the left.
    """

    asked: str
    sides: tuple[Figure, Figure]
    swapped: bool


def blind_pairs(
    first: Path, second: Path, n: int, *, seed: int = 0, trust: bool = False, device: torch.device
) -> list[Pair]:
    """Draw ``n`` samples of each run, under the same conditions and from the same seed, and mix the sides up.

    Args:
        first: folder of a run; its conditions are asked, and its renderer shows both.
        second: folder of another.
        n: pairs.
        seed: of samples and sides.
        trust: run code that the recipes name by file or module.
        device: where they are drawn.

    Raises:
        RunError: they are of different data or conditions, or their renderer shows no single example.
    """
    if n < 1:
        raise RunError(f"pairs count from 1, got {n}")
    runs = [open_run(path, trust=trust)[0] for path in (first, second)]
    one, other = runs
    for run in runs:
        run.flow.objective.require_generates()
        run.to(device)
    if one.spec != other.spec:
        raise RunError(f"{first} and {second} are of different data; a blind comparison wants the same")
    if one.asked_for() != other.asked_for():
        wanted = " and ".join(f"({', '.join(sorted(run.asked_for())) or 'none'})" for run in runs)
        raise RunError(f"{first} and {second} are asked by different conditions: {wanted}")
    cond = one.conditions_left({}, n, seed=seed)
    shown = [_shown(one, run, cond, n, seed) for run in runs]
    if not all(len(figures) == n for figures in shown):
        raise RunError(
            f"the renderer of {first} shows no example by itself, so that there is nothing to choose between"
        )
    flips = torch.randint(2, (n,), generator=generator(seed, "blind")).bool().tolist()
    return [
        Pair(_in_words(one.spec, cond, row), (b, a) if swapped else (a, b), swapped)
        for row, (a, b, swapped) in enumerate(zip(*shown, flips, strict=True))
    ]


def _shown(shows: Assembly, drawn: Assembly, cond: Cond, n: int, seed: int) -> Sequence[Figure]:
    solution = drawn.flow.solve(n, seed=seed, batch=drawn.evaluate.batch, cond=cond)
    examples = drawn.drawn(solution, cond)
    return [] if shows.renderer is None else shows.renderer.files(examples.with_layout(drawn.spec))


def _in_words(spec: Spec, cond: Cond, row: int) -> str:
    """The conditions of a row that have names: classes, and texts of named symbols."""
    said = []
    for name, value in cond.items():
        condition = spec.conditions.get(name)
        if condition is None or condition.classes is None or len(condition.shape) > 1:
            continue
        ids = value[row].reshape(-1).tolist()
        if condition.names:
            said.append("".join(condition.names[int(i)] for i in ids).strip())
        elif not condition.shape:
            said.append(f"{name} {int(ids[0])}")
    return ", ".join(one for one in said if one)


def blind_page(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    """One HTML file: pairs to choose between, and behind the last choice who was who, with a sign test.

    Which side is whose stands in the source alone.
    """
    choice = Markup(
        '<fieldset class="choice" data-swapped="{}"><legend>{}</legend><div class="sides">{}</div></fieldset>'
    )
    body = Markup("").join(
        choice.format(int(pair.swapped), f"{i}. {pair.asked}".rstrip(". "), _sides(pair))
        for i, pair in enumerate(pairs, 1)
    )
    box = Markup('<div class="blind" data-names="{}">{}<noscript>{}</noscript></div>').format(
        json.dumps(names), body, "Choosing needs JavaScript, which is in this file."
    )
    soft = "Choose the better side of every pair, or neither; then the page tells whose they were."
    return page("Which is better?", Section(f"{len(pairs)} pairs", box, soft))


def _sides(pair: Pair) -> Markup:
    return Markup("").join(
        Markup('<div class="side">{}</div>').format(embed(Figure(side, figure.mime, figure.data)))
        for side, figure in zip(("left", "right"), pair.sides, strict=True)
    )
