"""Small networks from conditions to a point of the state space, zero at the start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec

Head = Literal["auto", "linear", "convolution"]


class ConditionShift(nn.Module):
    r"""A shift :math:`\mu(y)` of the state space for every condition, and one of its own where y is withheld.

    The last layer starts at zero, so a flow with such a shift starts as the plain flow.

    Args:
        spec: of the states: one real tensor, with conditions that inform.
        width: of the condition's embedding, and of the first convolution.
        head: ``linear`` maps the embedding to the state; ``convolution`` unfolds it over a grid a quarter as
            fine and refines it twice, for ``(channels, height, width)``; ``auto`` takes convolutions for
            images of 16 pixels and more.
        outputs: how many such points to answer with, side by side.

    Raises:
        IncompatibleError: states are tokens or have parts, nothing informs, or no convolution fits.
    """

    def __init__(self, spec: Spec, width: int = 128, head: Head = "auto", outputs: int = 1) -> None:
        super().__init__()
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("a learned shift needs states of one real tensor, not tokens or parts")
        if not spec.named("inform"):
            raise IncompatibleError(
                "a learned shift follows a condition, and this data has none that informs"
            )
        require_sizes(width=width, outputs=outputs)
        self.shape, self.outputs = tuple(spec.shape), outputs
        grid = len(self.shape) == 3 and not any(size % 4 for size in self.shape[1:])
        if head == "auto":
            head = "convolution" if grid and min(self.shape[1:]) >= 16 else "linear"
        if head == "convolution" and not grid:
            raise IncompatibleError(
                "head: convolution needs states (channels, height, width) whose sides 4 divides, "
                f"not {self.shape}"
            )
        self.embed = ConditionEmbedding({n: spec.conditions[n] for n in spec.named("inform")}, width)
        self.head = (
            _linear(self.shape, width, outputs) if head == "linear" else _unfold(self.shape, width, outputs)
        )
        last = [layer for layer in self.head if isinstance(layer, (nn.Linear, nn.Conv2d))][-1]
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)

    def forward(self, cond: Mapping[str, Tensor], batch: int) -> Tensor:
        """The shifts of ``batch`` rows: ``(batch, *event)``, or ``(batch, outputs, *event)`` of several."""
        embedded = self.embed(cond, batch)
        assert isinstance(embedded, Tensor)
        points = self.head(embedded)
        return points.reshape(batch, *((self.outputs,) if self.outputs > 1 else ()), *self.shape)


def _linear(shape: tuple[int, ...], width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, outputs * math.prod(shape)))


def _unfold(shape: tuple[int, ...], width: int, outputs: int) -> nn.Sequential:
    """Embedding to a coarse grid, then twice: twice as fine, half as wide."""
    channels, height, breadth = shape
    half, quarter = max(1, width // 2), max(1, width // 4)
    return nn.Sequential(
        nn.SiLU(),
        nn.Linear(width, quarter * (height // 4) * (breadth // 4)),
        nn.Unflatten(1, (quarter, height // 4, breadth // 4)),
        nn.Conv2d(quarter, width, 3, padding=1),
        nn.SiLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(width, half, 3, padding=1),
        nn.SiLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(half, quarter, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(quarter, outputs * channels, 3, padding=1),
    )
