"""Streams of tokens in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.layout import Layout
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State

__all__ = ["StreamPictures"]


class StreamPictures(Renderer):
    """Frames of tokens as stripes of colour, one for every stream, the first above; padding is blank.

    Args:
        spec: of the data, tokens ``(frames, streams)``; injected from the recipe.
        rows: most examples on a side.
        moments: most moments of a trajectory.
    """

    def __init__(self, spec: Spec, rows: int = 6, moments: int = 6) -> None:
        if spec.parts or spec.vocab is None or len(spec.shape) != 2:
            raise ShapeError(f"renderer streams shows tokens (frames, streams), not {spec.in_words()}")
        if rows < 1 or moments < 2:
            raise ValueError(f"rows must be at least 1, moments 2; got {rows} and {moments}")
        self.vocab, self.rows, self.moments = spec.vocab, rows, moments

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated beside real, row by row."""
        sides = [("generated", samples), *([("real", real)] if real is not samples else [])]
        cells = []
        for i in range(min(self.rows, len(samples))):
            shown = "".join(f"<td>{self._picture(*_row(side, i % len(side)))}</td>" for _, side in sides)
            cells.append(f"<tr>{shown}</tr>")
        heads = "".join(f'<th style="text-align:left">{name}</th>' for name, _ in sides)
        table = f"<table><tr>{heads}</tr>{''.join(cells)}</table>"
        said = "One stripe for every stream, the first above; a colour is a token, grey has not arrived."
        return [Figure("Streams", "text/html", table.encode(), said)]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """The first row as its tokens arrive."""
        picked = torch.linspace(0, len(states) - 1, min(self.moments, len(states))).round().long().tolist()
        cells = []
        for i in dict.fromkeys(picked):
            state = states[i]
            assert isinstance(state, Tensor)
            row = state[0].detach().cpu()
            picture = self._picture(row, torch.ones(len(row), dtype=torch.bool))
            cells.append(f"<tr><td>t = {times[i]:.2f}</td><td>{picture}</td></tr>")
        return [Figure("From source to data", "text/html", f"<table>{''.join(cells)}</table>".encode())]

    def _picture(self, tokens: Tensor, real: Tensor) -> str:
        from matplotlib import colormaps
        from PIL import Image

        colours = colormaps["turbo"](tokens.clamp(0, self.vocab - 1).numpy() / max(1, self.vocab - 1))[
            ..., :3
        ]
        pixels = torch.from_numpy(colours).float()
        pixels[tokens >= self.vocab] = 0.6
        pixels[~real] = 1.0
        image = (pixels.transpose(0, 1) * 255).byte().numpy()
        buffer = io.BytesIO()
        size = (6 * len(tokens), 10 * tokens.shape[1])
        Image.fromarray(image).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="streams of tokens" src="data:image/png;base64,{data}">'


def _row(examples: Examples, row: int) -> tuple[Tensor, Tensor]:
    x = examples.x
    assert isinstance(x, Tensor)
    real = (examples.layout or Layout()).real
    marks = torch.ones(x.shape[1], dtype=torch.bool) if real is None else real[row].cpu()
    return x[row].cpu(), marks
