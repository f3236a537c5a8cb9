"""Whether layouts look like layouts: overlap, alignment, and a Fréchet distance of simple features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.frechet import frechet_distance
from flowloom_images.layouts.spec import PARTS


class LayoutQuality(Metric):
    r"""Overlap, alignment and Fréchet distance of layouts.

    * ``overlap``: mean over layouts of :math:`\sum_{i \ne j} |b_i \cap b_j| / |b_i|` (LayoutGAN, 1901.06767);
    * ``misalignment``: mean over layouts of :math:`-\log(1 - \min_j d_{ij})` summed over elements, d the
    least gap
      between the six left, centre and right, upper, middle and lower coordinates (Lee et al. 1912.09421);
    * ``layout_frechet``: Fréchet distance of features that name no page: how many elements of each type,
    their
      mean box, the spread of all boxes and the area covered. It is no FID, which needs a trained network.

    ``overlap`` and ``misalignment`` are to be those of real layouts, not 0.

    Args:
        types: number of types, for the features; as many as the layouts have where None.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "layout_frechet": "lower",
        "overlap": "lower",
        "misalignment": "lower",
    }

    def __init__(self, types: int | None = None) -> None:
        self.types = types

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """The three values.

        Raises:
            IncompatibleError: examples are not layouts.
        """
        self.require_rows(samples, real)
        ours, theirs = _layouts(samples), _layouts(real)
        types = self.types or int(max(ours[1].max(), theirs[1].max())) + 1
        return {
            "layout_frechet": frechet_distance(features(*ours, types), features(*theirs, types)),
            "overlap": float(overlap(ours[0], ours[2]).mean()),
            "misalignment": float(misalignment(ours[0], ours[2]).mean()),
        }


def overlap(boxes: Tensor, real: Tensor) -> Tensor:
    """Share of every box that others cover, summed over boxes: ``(n,)``.

    Args:
        boxes: centres and sizes ``(n, N, 4)``.
        real: which exist ``(n, N)``.
    """
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    common = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    area = common.clamp_min(0).prod(-1)
    counted = _pairs(real)
    own = boxes[..., 2:].clamp_min(1e-4).prod(-1)[..., None]
    return torch.where(counted, area / own, torch.zeros_like(area)).sum((1, 2))


def misalignment(boxes: Tensor, real: Tensor) -> Tensor:
    """How far elements are from sharing an edge or a centre line with another: ``(n,)``.

    Args:
        boxes: centres and sizes ``(n, N, 4)``.
        real: which exist ``(n, N)``.
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    lines = torch.cat([centre - half, centre, centre + half], -1)
    gap = (lines[:, :, None] - lines[:, None]).abs().amin(-1)
    counted = _pairs(real)
    least = torch.where(counted, gap, torch.ones_like(gap)).amin(-1).clamp_max(0.999)
    alone = real.sum(1, keepdim=True) < 2
    return torch.where(real & ~alone, -(1 - least).log(), torch.zeros_like(least)).sum(1)


def features(boxes: Tensor, types: Tensor, real: Tensor, count: int) -> Tensor:
    """Features of every layout ``(n, 5 count + 5)``: see `LayoutQuality`."""
    weight = real.to(boxes.dtype)
    of_type = torch.nn.functional.one_hot(types.clamp(0, count - 1), count) * weight[..., None]
    number = of_type.sum(1)
    mean = torch.einsum("nek,ned->nkd", of_type, boxes) / number[..., None].clamp_min(1)
    size = weight.sum(1, keepdim=True).clamp_min(1)
    centre = (boxes * weight[..., None]).sum(1) / size
    spread = (((boxes - centre[:, None]).square() * weight[..., None]).sum(1) / size).sqrt()
    covered = (boxes[..., 2:].prod(-1) * weight).sum(1, keepdim=True)
    return torch.cat([number / 10, mean.flatten(1), spread, covered], 1)


def _pairs(real: Tensor) -> Tensor:
    """Pairs of different elements that exist: ``(n, N, N)``."""
    return real[:, :, None] & real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)


def _layouts(examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes ``(n, N, 4)``, types ``(n, N)`` and which exist."""
    x: Any = examples.x
    if not isinstance(x, dict) or not set(PARTS) <= set(x) or x["types"].is_floating_point():
        raise IncompatibleError("layout-quality compares layouts, with the parts position, size and types")
    boxes, types = torch.cat([x["position"], x["size"]], -1), x["types"]
    real = examples.cond.get("real")
    real = torch.ones_like(types, dtype=torch.bool) if real is None else real.bool()
    # What stands in padding is nobody's business.
    zero = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    return torch.where(real[..., None], boxes, zero), torch.where(real, types, 0), real
