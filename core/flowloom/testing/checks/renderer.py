"""Laws of renderers."""

from __future__ import annotations

from typing import Any

import torch

from flowloom.data.base import Examples
from flowloom.renderers import Figure
from flowloom.state import map_state
from flowloom.testing.laws import Context, Make, law

MAGIC = {"image/png": b"\x89PNG\r\n", "audio/wav": b"RIFF", "image/svg+xml": b"<", "text/html": b"<"}


def _examples(context: Context) -> Examples:
    if context.data is not None:
        return context.data.take(torch.arange(min(16, len(context.data))))
    return Examples(torch.randn(16, 2, generator=context.generator(1)))


def _judge(figures: Any, context: Context, what: str) -> None:
    context.holds(f"{what} are a list of figures", isinstance(figures, list) and len(figures) > 0)
    for figure in figures:
        context.holds(f"{what} are figures", isinstance(figure, Figure), type(figure).__name__)
        context.holds(f"{what} have a title", bool(figure.title))
        start = MAGIC.get(figure.mime)
        context.holds(f"{what} are of a known type", start is not None, figure.mime)
        right = start is not None and figure.data.lstrip().startswith(start) and len(figure.data) > 32
        context.holds(f"{what} hold data of their type", right, figure.mime)


@law("samples become figures")
def check_samples(make: Make, context: Context) -> None:
    """A list of figures with data of their media type."""
    real = _examples(context)
    _judge(make().samples(real, real), context, "figures of samples")


@law("trajectories become figures")
def check_trajectory(make: Make, context: Context) -> None:
    """From three states at rising times."""
    x = _examples(context).x
    states = [map_state(lambda v, s=s: v * s if v.is_floating_point() else v, x) for s in (0.2, 0.6, 1.0)]
    _judge(make().trajectory([0.0, 0.5, 1.0], states), context, "figures of a trajectory")


@law("states that need gradients, and values that run away, are shown as well")
def check_odd_states(make: Make, context: Context) -> None:
    """A report must not fail on a bad run: gradients attached, huge values, one row."""
    real = _examples(context)
    odd = map_state(lambda v: (v * 1e6).requires_grad_() if v.is_floating_point() else v, real.x)
    one = torch.arange(1)
    _judge(make().samples(Examples(odd, real.cond), real), context, "figures of odd samples")
    _judge(make().samples(real.take(one), real.take(one)), context, "figures of one sample")


@law("files are one of a known type an example, or none at all")
def check_files(make: Make, context: Context) -> None:
    """What a server hands out, in the order of the examples."""
    real = _examples(context)
    files = make().files(real.laid_out(context.data.spec) if context.data is not None else real)
    context.holds(
        "there are as many files as examples, or none", len(files) in (0, len(real)), f"{len(files)}"
    )
    if files:
        _judge(files, context, "files")


@law("the same states give the same figures")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Byte for byte."""
    real = _examples(context)
    first, second = make().samples(real, real), make().samples(real, real)
    context.holds("figures are the same twice", [f.data for f in first] == [f.data for f in second])


@law("pieces are one figure an example, or one a group")
def check_pieces(make: Make, context: Context) -> None:
    """Tiles and scenes are as many as what they show, or there are none; odd states do not stop them."""
    real = _examples(context)
    odd = map_state(lambda v: (v * 1e6).requires_grad_() if v.is_floating_point() else v, real.x)
    groups = [Examples(odd, real.cond), real]
    for what, pieces, asked in (
        ("tiles", make().tiles(groups[0]), len(real)),
        ("scenes", make().scenes(groups), len(groups)),
    ):
        if pieces:
            context.holds(f"{what} are as many as what they show", len(pieces) == asked, str(len(pieces)))
            _judge(pieces, context, what)
