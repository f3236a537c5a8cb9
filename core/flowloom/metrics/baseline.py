"""The Gaussian that any generative model has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.state import Cond


def gaussian_baseline(
    train: Examples, cond: Cond, n: int, *, within: str | None = None, seed: int = 0
) -> Examples:
    r"""Draws of the Gaussian with the training data's mean and full covariance.

    A draw is :math:`\bar x + X_c^\top z / \sqrt{m - 1}` with centred training rows :math:`X_c` and standard
    normal z, which has exactly the empirical covariance and needs no factorisation, whatever the dimension.

    Args:
        train: real training examples, one real-valued tensor; padding reads 0 where they are laid out.
        cond: conditions that the draws are to carry, ``n`` rows.
        n: number of draws.
        within: a class condition; each class then gets a Gaussian of its own, which makes the baseline
            as strong as a Gaussian can be.
        seed: of the draws.

    Raises:
        IncompatibleError: states are tokens or products, or a class has fewer than two training rows.
    """
    x = train.x if train.layout is None else train.layout.zero(train.x)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise IncompatibleError("the Gaussian baseline is for one real-valued tensor")
    generator = torch.Generator().manual_seed(seed)
    flat = x.flatten(1).cpu().double()
    out = torch.empty(n, flat.shape[1], dtype=torch.float64)
    groups = cond[within].cpu() if within is not None else torch.zeros(n, dtype=torch.long)
    labels = train.cond[within].cpu() if within is not None else torch.zeros(len(flat), dtype=torch.long)
    for value in groups.unique().tolist():
        rows, wanted = flat[labels == value], groups == value
        if len(rows) < 2:
            raise IncompatibleError(f"class {value} has {len(rows)} training rows; a Gaussian needs two")
        z = torch.randn(int(wanted.sum()), len(rows), generator=generator, dtype=torch.float64)
        out[wanted] = rows.mean(0) + z @ (rows - rows.mean(0)) / (len(rows) - 1) ** 0.5
    return Examples(out.to(x.dtype).reshape(n, *x.shape[1:]), cond)
