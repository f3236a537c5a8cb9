"""Heat maps of what is built on a grid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.flow import Flow
from flowloom.renderers import Figure, Renderer
from flowloom.state import State
from flowloom_gflownets.balance import Balance
from flowloom_gflownets.environment import Environment
from flowloom_gflownets.exact import law_of, target_of
from flowloom_gflownets.policy import PolicyField


class GridHeat(Renderer):
    """Counts of samples, and the policy's exact law beside the reward's, over the first two coordinates."""

    def samples(self, samples: Examples, real: Examples) -> list[Figure]:
        """Counts of drawn objects.

        Raises:
            ShapeError: states are no points of a grid.
        """
        return [_figure("Samples", ["drawn objects"], [_counts(samples.x)])]

    def trajectory(self, times: Sequence[float], states: Sequence[State]) -> list[Figure]:
        """Counts of the ends: walks differ in length."""
        panels = [_counts(state) for state in states]
        return [_figure("From the root", [f"t = {time:.2g}" for time in times], panels)]

    def flow(self, flow: Flow, real: Examples) -> list[Figure]:
        """The policy's law and the target, exactly; nothing where states are too many to be listed."""
        field = flow.field()
        if not isinstance(flow.objective, Balance) or not isinstance(field, PolicyField):
            return []
        environment: Environment = flow.objective.environment
        try:
            states = environment.states()
        except NotImplementedError:
            return []
        side = int(states.max()) + 1
        with flow.evaluating():
            laws = [law_of(field), target_of(environment).probabilities]
        panels = [_plane(states, law, side) for law in laws]
        return [_figure("Exact law", ["policy", "reward / Z"], panels)]


def _counts(x: State) -> Tensor:
    if not isinstance(x, Tensor) or x.is_floating_point() or x.ndim != 2:
        raise ShapeError("grid-heat shows points of a grid: whole coordinates (n, D)")
    return _plane(x, torch.ones(len(x), dtype=torch.float64), int(x.max()) + 1)


def _plane(x: Tensor, mass: Tensor, side: int) -> Tensor:
    """Mass summed over all but the first two coordinates, ``(side, side)``."""
    first, second = x[:, 0].cpu(), x[:, min(1, x.shape[1] - 1)].cpu()
    plane = torch.zeros(side * side, dtype=torch.float64)
    return plane.index_add(0, first * side + second, mass).reshape(side, side)


def _figure(title: str, names: Sequence[str], panels: Sequence[Tensor]) -> Figure:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(4.2 * len(panels), 4), layout="constrained")
    top = max(float(panel.max()) for panel in panels)
    axes: Any = canvas.subplots(1, len(panels), squeeze=False)[0]
    for place, name, panel in zip(axes, names, panels, strict=True):
        place.imshow(panel.T.numpy(), origin="lower", vmin=0, vmax=top, cmap="viridis")
        place.set(title=name, xticks=[], yticks=[])
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    return Figure(title, "image/png", buffer.getvalue())
