"""Optimal transport on the line, many lines at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def quantiles(values: Tensor, count: int) -> Tensor:
    """``count`` quantiles of every line, at levels ``(k + 1/2) / count``, interpolated between order
    statistics.

    Args:
        values: ``(lines, n)``.
        count: how many.

    Returns:
        ``(lines, count)``, ascending.
    """
    n = values.shape[1]
    ordered = values.sort(1).values
    level = (torch.arange(count, device=values.device, dtype=values.dtype) + 0.5) / count
    # The i-th of n order statistics stands at level (i + 1/2) / n.
    place = (level * n - 0.5).clamp(0, n - 1)
    low = place.floor().long()
    return torch.lerp(ordered[:, low], ordered[:, (low + 1).clamp_max(n - 1)], place - low)


def transport(values: Tensor, source: Tensor, target: Tensor) -> Tensor:
    r"""The monotone map :math:`F_{target}^{-1}(F_{source}(a))` on every line, linear between quantiles.

    Beyond the outermost quantiles points move as those do.

    Args:
        values: ``(lines, n)``.
        source: quantiles ``(lines, count)`` of the law that the values are of.
        target: quantiles of the law that they are to have, at the same levels.

    Returns:
        ``(lines, n)``.
    """
    inner = torch.clamp(values, source[:, :1], source[:, -1:])
    right = torch.searchsorted(source, inner.detach().contiguous()).clamp(1, source.shape[1] - 1)
    left = right - 1
    a, b = source.gather(1, left), source.gather(1, right)
    share = (inner - a) / (b - a).clamp_min(torch.finfo(values.dtype).tiny)
    found = target.gather(1, left) + share * (target.gather(1, right) - target.gather(1, left))
    return found + (values - inner)
