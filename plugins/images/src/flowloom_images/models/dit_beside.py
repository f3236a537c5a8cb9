"""A diffusion transformer that reads further images beside its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom_images.models.dit import DiT, Size
from flowloom_images.models.image_spec import image_shape

__all__ = ["DiTBeside"]


class DiTBeside(DiT):
    """A `DiT` whose first layer sees some conditions, images of the state's size, as further channels.

    They are part of what the network looks at, so they are never withheld: a degraded image, a map of
    depth (2506.02221), the velocity that a refiner refines (2409.18128).

    Args:
        spec: of the data: images of real values.
        beside: names of those conditions.
        size: see `DiT`, as the other arguments.
        patch: width of a patch in pixels.
        width: of the tokens, instead of the size's.
        depth: number of blocks, instead of the size's.
        heads: attention heads, instead of the size's.

    Raises:
        IncompatibleError: a condition is not there, or no image of the state's size.
    """

    def __init__(
        self,
        spec: Spec,
        beside: Sequence[str] = (),
        size: Size = "S",
        patch: int = 2,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
    ) -> None:
        channels, *place = image_shape(spec, "DiT")
        more = 0
        for name in beside:
            condition = spec.conditions.get(name)
            if condition is None or len(condition.shape) != 3 or list(condition.shape[1:]) != place:
                have = (
                    ", ".join(n for n, c in spec.conditions.items() if list(c.shape[1:]) == place) or "none"
                )
                raise IncompatibleError(
                    f"dit-beside reads images of the state's size, and '{name}' is none; there are: {have}"
                )
            more += condition.shape[0]
        rest = {name: c for name, c in spec.conditions.items() if name not in beside}
        wide = replace(spec, shape=(channels + more, *place), conditions=rest)
        super().__init__(wide, size, patch, width, depth, heads, out_channels=channels)
        self.spec, self.beside = spec, tuple(beside)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` with those beside them to ``(batch, C, H, W)``."""
        told = {name: value for name, value in cond.items() if name not in self.beside}
        return super().forward(torch.cat([x, *(cond[name] for name in self.beside)], 1), t, **told)
