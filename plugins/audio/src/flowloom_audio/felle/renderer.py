"""Continuous frames in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.renderers import Figure, Renderer
from flowloom.spec import Spec
from flowloom.state import State

__all__ = ["FramePictures"]


class FramePictures(Renderer):
    """Frames of real numbers as colours: time from left to right, the first band above.

    All pictures share one scale, which is even about 0, so that drift shows.

    Args:
        spec: of the data, real numbers ``(frames, bands)``; injected from the recipe.
        rows: most examples on a side.
        limit: value, in units of the data, from which colours are the strongest.
    """

    def __init__(self, spec: Spec, rows: int = 6, limit: float = 3.0) -> None:
        if spec.parts or spec.vocab is not None or len(spec.shape) != 2:
            raise ShapeError(f"renderer frames shows real numbers (frames, bands), not {spec.in_words()}")
        if rows < 1 or limit <= 0:
            raise ValueError(f"rows must be at least 1, limit positive; got {rows} and {limit}")
        self.rows, self.limit = rows, limit

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated beside real, row by row."""
        sides = [("generated", samples), *([("real", real)] if real is not samples else [])]
        heads = "".join(f'<th style="text-align:left">{name}</th>' for name, _ in sides)
        cells = []
        for i in range(min(self.rows, len(samples))):
            shown = "".join(f"<td>{self._picture(side.x, i % len(side))}</td>" for _, side in sides)
            cells.append(f"<tr>{shown}</tr>")
        said = (
            f"Frames from left to right, the first band above; blue is {-self.limit:g}, red {self.limit:g}."
        )
        return [
            Figure("Frames", "text/html", f"<table><tr>{heads}</tr>{''.join(cells)}</table>".encode(), said)
        ]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """The first row at every time, of solvers that move all frames together."""
        cells = [
            f"<td>t = {time:.2f}<br>{self._picture(x, 0)}</td>" for time, x in zip(times, states, strict=True)
        ]
        page = f"<table><tr>{''.join(cells)}</tr></table>"
        return [Figure("From source to data", "text/html", page.encode())]

    def _picture(self, x: State, row: int) -> str:
        from matplotlib import colormaps
        from PIL import Image

        assert isinstance(x, Tensor)
        frames = x[row].detach().float().cpu().nan_to_num(0.0)
        place = (frames.T / (2 * self.limit) + 0.5).clamp(0, 1)
        image = (colormaps["coolwarm"](place.numpy())[..., :3] * 255).astype("uint8")
        buffer = io.BytesIO()
        size = (16 * frames.shape[0], 10 * frames.shape[1])
        Image.fromarray(image).resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="frames" src="data:image/png;base64,{data}">'
