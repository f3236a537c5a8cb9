"""Precision and recall by nearest-neighbour manifolds of features."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import ShapeError


def precision_recall(samples: Tensor, real: Tensor, k: int = 3, chunk: int = 2048) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 1904.06991).

    The manifold of a set is the union of balls around its points that just reach the point's ``k``-th
    nearest neighbour. Precision is the share of samples inside the manifold of the real set, recall the
    share of real points inside the manifold of the samples.

    Args:
        samples: features ``(n, d)``, ``n > k``.
        real: features ``(m, d)``, ``m > k``.
        k: which neighbour sets the radius.
        chunk: rows of the distance matrix held at a time.

    Returns:
        Precision and recall in [0, 1], both NaN where a feature is not finite.

    Raises:
        ShapeError: a set has no ``k`` neighbours.
    """
    if k < 1 or min(len(samples), len(real)) <= k:
        raise ShapeError(
            f"precision and recall with k={k} need k >= 1 and more than k points a side, "
            f"got {len(samples)} samples and {len(real)} real points; draw more or lower k"
        )
    if not (samples.isfinite().all() and real.isfinite().all()):
        return float("nan"), float("nan")
    samples, real = samples.double(), real.double()
    precision = _share_inside(samples, real, _radii(real, k, chunk), chunk)
    return precision, _share_inside(real, samples, _radii(samples, k, chunk), chunk)


def _radii(points: Tensor, k: int, chunk: int) -> Tensor:
    # The nearest of k + 1 is the point itself, or a copy of it.
    near = [_distances(rows, points).kthvalue(k + 1, dim=1).values for rows in points.split(chunk)]
    return torch.cat(near)


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor, chunk: int) -> float:
    inside = [(_distances(rows, centres) <= radii).any(1) for rows in points.split(chunk)]
    return float(torch.cat(inside).double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Exact differences: the faster matrix product would put a point at a distance from itself.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
