"""The Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import ShapeError


def gaussian_frechet(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance of two Gaussians.

    :math:`|m_x - m_y|^2 + \mathrm{tr}\,(C_x + C_y - 2 (C_x C_y)^{1/2})` (Dowson and Landau, 1982). The trace
    of the root is the sum of singular values of :math:`C_x^{1/2} C_y^{1/2}`, which needs roots of symmetric
    matrices only and stays accurate where covariances are singular.

    Args:
        mean_x: ``(d,)``.
        cov_x: ``(d, d)``, symmetric and positive semi-definite.
        mean_y: ``(d,)``.
        cov_y: ``(d, d)``.
    """
    mean_x, cov_x, mean_y, cov_y = (value.double() for value in (mean_x, cov_x, mean_y, cov_y))
    cross = torch.linalg.svdvals(_root(cov_x) @ _root(cov_y)).sum()
    apart = (mean_x - mean_y).square().sum()
    return max(0.0, float(apart + cov_x.trace() + cov_y.trace() - 2 * cross))


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features, in double precision.

    With Inception features this is the FID (Heusel et al. 1706.08500). The estimate grows as samples get
    fewer, so compare values from equal numbers of samples only.

    Args:
        x: features ``(n, d)``, ``n >= 2``.
        y: features ``(m, d)``, ``m >= 2``.

    Returns:
        The distance, or NaN where a feature is not finite.

    Raises:
        ShapeError: fewer than two rows, or features of different size.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ShapeError(
            f"the Fréchet distance needs features (n, d) and (m, d) with n, m >= 2, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not (x.isfinite().all() and y.isfinite().all()):
        return float("nan")
    x, y = x.double(), y.double()
    return gaussian_frechet(
        x.mean(0), torch.cov(x.T).view(x.shape[1], -1), y.mean(0), torch.cov(y.T).view(y.shape[1], -1)
    )


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
