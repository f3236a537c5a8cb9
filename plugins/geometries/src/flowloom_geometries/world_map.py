"""Points of the sphere, and densities on it, as a map of the world or as the globe."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.geometry import Sphere
from flowloom.renderers import Figure, Renderer
from flowloom.scores import Likelihood
from flowloom.solvers import Dopri5
from flowloom.spec import Spec
from flowloom.state import State, first_leaf
from flowloom_geometries.coastline import coastlines
from flowloom_geometries.data.earth import to_degrees, to_sphere

LogDensity = Callable[[Tensor], Tensor]


class WorldMap(Renderer):
    """Plate carrée maps: longitude across, latitude up, coastlines and a graticule every 30 degrees.

    A flow on the sphere whose source has a density is shown with its learned density, from the uniform
    law's upwards, and held-out points as open rings over it.

    Args:
        resolution: rows of the grid on which densities are drawn (twice as many columns).
        limit: points drawn at most.
    """

    def __init__(self, resolution: int = 90, limit: int = 5000) -> None:
        if resolution < 2 or limit < 1:
            raise ValueError(f"resolution must be at least 2 and limit 1, got {resolution} and {limit}")
        self.resolution, self.limit = resolution, limit

    def misfit(self, spec: Spec) -> str:
        """Anything but points in space."""
        first = next(iter(spec.leaves()))[1]
        if first.vocab is None and first.shape[-1:] == (3,):
            return ""
        return f"renderer world-map shows points of the sphere, (3,); the data have {spec.in_words()}"

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Generated and real points, one map each."""
        canvas, panels = _maps(2)
        for axes, name, examples in zip(panels, ("samples", "real"), (samples, real), strict=True):
            self._points(axes, first_leaf(examples.x), "C0")
            axes.set_title(f"{name} ({len(examples)})")
        return [Figure("Samples on the map", "image/png", _png(canvas))]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """One small map per time."""
        canvas, panels = _maps(len(states), small=True)
        for axes, time, state in zip(panels, times, states, strict=True):
            self._points(axes, first_leaf(state), "C0")
            axes.set_title(f"t = {time:.2f}")
        return [Figure("From source to data, on the map", "image/png", _png(canvas))]

    def scenes(self, groups: Sequence[Examples]) -> list[Figure]:
        """One map a group, with points of one size in all."""
        figures = []
        for group in groups:
            canvas, (axes,) = _maps(1, bare=True)
            self._points(axes, first_leaf(group.x), "C3")
            figures.append(Figure("Map", "image/png", _png(canvas, colours=24)))
        return figures

    def flow(self, flow: Flow, real: Examples) -> list[Figure]:
        """The learned density with held-out points; nothing where the flow has no likelihood."""
        solver = Dopri5(1e-2, 1e-2)
        try:
            Likelihood(solver).require(flow)
        except IncompatibleError:
            return []
        if not isinstance(flow.geometry, Sphere) or flow.codec is not None:
            return []
        points = first_leaf(real.x)
        with torch.no_grad():
            return [
                self.density(
                    lambda x: flow.log_prob(x.to(flow.device), solver=solver),
                    points,
                    f"learned density, {min(len(points), self.limit)} held-out points",
                )
            ]

    def density(self, log_prob: LogDensity, real: Tensor | None = None, title: str = "") -> Figure:
        """A density on the sphere, with points over it.

        Args:
            log_prob: log density in nats per steradian of points ``(n, 3)``.
            real: points to draw as open rings, ``(m, 3)``.
            title: of the map.
        """
        canvas, (axes,) = _maps(1)
        values = density_grid(log_prob, self.resolution).numpy()
        # From an eighth of the uniform law up: the emptiness below would take all the colours.
        floor = -math.log(4 * math.pi) - math.log(8)
        image = axes.imshow(
            values,
            extent=(-180, 180, -90, 90),
            origin="lower",
            cmap="magma",
            vmin=floor,
            vmax=max(float(values.max()), floor + 4),
        )
        canvas.colorbar(image, ax=axes, shrink=0.8, label="log density (nats per steradian)")
        if real is not None:
            shown = to_degrees(real[: self.limit].detach().double().cpu()).numpy()
            # Many points would hide what they mark.
            size = 45 if len(shown) <= 300 else 8
            # A dark ring below the bright one shows on dark and bright ground alike.
            for colour, width in (("black", 2.2), ("deepskyblue", 1.0)):
                axes.scatter(
                    shown[:, 1], shown[:, 0], s=size, facecolors="none", edgecolors=colour, linewidths=width
                )
        axes.set_title(title)
        caption = (
            f"Read at the centres of cells of {180 / self.resolution:g} degrees: narrower peaks may "
            "fall between. Rings are held-out points."
        )
        return Figure("Learned density", "image/png", _png(canvas), caption)

    def _points(self, axes: Any, x: Tensor, colour: str) -> None:
        degrees = to_degrees(x[: self.limit].detach().double().cpu()).numpy()
        size = 10 if len(degrees) <= 300 else 2
        axes.scatter(degrees[:, 1], degrees[:, 0], s=size, linewidths=0, color=colour)


def density_grid(log_prob: LogDensity, rows: int, batch: int = 4096) -> Tensor:
    """Log density at the cell centres of a map of ``rows`` by ``2 rows``, south first: ``(rows, 2 rows)``."""
    step = 180 / rows
    latitude = torch.arange(rows, dtype=torch.float64) * step - 90 + step / 2
    longitude = torch.arange(2 * rows, dtype=torch.float64) * step - 180 + step / 2
    grid = torch.cartesian_prod(latitude, longitude)
    points = to_sphere(grid).float()
    return torch.cat([log_prob(part) for part in points.split(batch)]).cpu().reshape(rows, 2 * rows)


def integral(log_density: Tensor) -> float:
    """Integral over the sphere of the density on a `density_grid`, by the midpoint rule."""
    rows = len(log_density)
    step = math.pi / rows
    latitude = torch.arange(rows, dtype=torch.float64) * step - math.pi / 2 + step / 2
    # The exact area of each cell of the grid.
    area = step * ((latitude + step / 2).sin() - (latitude - step / 2).sin())
    return float((log_density.double().exp() * area[:, None]).sum())


def _maps(count: int, small: bool = False, bare: bool = False) -> tuple[Any, list[Any]]:
    """A canvas of maps with coastlines: several of them, small ones, or one without frame and words."""
    from matplotlib.figure import Figure as Canvas

    columns = min(count, 4 if small else 1)
    rows = -(-count // columns)
    size = (3.4 * columns, 1.9 * rows) if small else (9, 4.6 * rows)
    canvas = Canvas(figsize=(6, 3)) if bare else Canvas(figsize=size, layout="constrained")
    if bare:
        panels = [canvas.add_axes((0.0, 0.0, 1.0, 1.0))]
    else:
        panels = canvas.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[:count]:
        for line in coastlines():
            axes.plot(line[:, 0], line[:, 1], color="0.45", linewidth=0.5 if small else 0.7, zorder=0.5)
        axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
        axes.set_xticks(range(-180, 181, 60 if small else 30))
        axes.set_yticks(range(-90, 91, 30))
        axes.grid(linewidth=0.3)
        axes.tick_params(labelsize=6 if small else 8)
    return canvas, panels[:count]


def _png(canvas: Any, colours: int | None = None) -> bytes:
    """The canvas as PNG; of few colours it takes a quarter of the bytes, as frames of a player must."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    if colours is None:
        return buffer.getvalue()
    from PIL import Image

    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(colours).save(small, format="png", optimize=True)
    return small.getvalue()
