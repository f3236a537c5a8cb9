"""The Gaussian with the moments of some rows, whole or given some of its entries."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError

__all__ = ["ConditionalGaussian"]

_LEAST_RIDGE = 1e-6
_MOST_WORK = 1e12
"""Multiplications that one set of draws may take: about a minute."""


class ConditionalGaussian:
    r"""A Gaussian fitted to rows, of which any entries may be known.

    A draw is :math:`\bar x + X_c^\top z / \sqrt{m - 1}` with centred rows :math:`X_c` and standard normal z
    (the root of S in place of the rows, where there are more of them than entries): it has exactly the
    empirical covariance S, whatever the dimension. Where entries O are known to be o, it is moved by
    regression (Matheron's rule; Wilson et al. 2002.09309, eq. 8),

    .. math:: x + S_{\cdot O} (S_{OO} + \lambda I)^{-1} (o - x_O),

    which is the ridge regression on the known entries, with the residuals that it leaves in the rows. Entries
    are scaled to deviation 1 first, and :math:`\lambda = \rho / (1 - \rho)` with the shrinkage :math:`\rho`
    of Ledoit and Wolf (2004), which vanishes for many rows and makes fewer rows than entries a regular case.

    Args:
        rows: ``(m, d)``, at least two.

    Raises:
        IncompatibleError: there are fewer.
    """

    def __init__(self, rows: Tensor) -> None:
        if len(rows) < 2:
            raise IncompatibleError(f"a Gaussian needs two training rows, and there is {len(rows)}")
        x = rows.double()
        self.mean = x.mean(0)
        deviation = x.std(0)
        # What never changes is told by its mean.
        self.scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        self.centred = (x - self.mean) / self.scale
        root = self.centred / (len(x) - 1) ** 0.5
        if len(x) > x.shape[1]:
            values, vectors = torch.linalg.eigh(root.T @ root)
            root = values.clamp_min(0).sqrt()[:, None] * vectors.T
        self.root = root
        self.ridge = max(_ridge(self.centred), _LEAST_RIDGE)

    def draw(self, known: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
        """One draw for every row of ``known``: ``(n, d)``.

        Args:
            known: which entries are known, boolean ``(n, d)``.
            values: theirs; anything elsewhere.
            generator: on the CPU.

        Raises:
            IncompatibleError: too many rows know different entries for a regression each.
        """
        n = len(known)
        x = torch.randn(n, len(self.root), generator=generator, dtype=torch.float64) @ self.root
        patterns, which = known.unique(dim=0, return_inverse=True)
        work = float(patterns.sum(1).double().pow(3).sum()) / 3
        if work > _MOST_WORK:
            raise IncompatibleError(
                f"{len(patterns)} different sets of up to {int(patterns.sum(1).max())} known entries are too "
                "many for a regression each; ask about fewer rows"
            )
        wanted = (values.double() - self.mean) / self.scale
        for i, pattern in enumerate(patterns):
            if not pattern.any():
                continue
            rows, seen = which == i, self.root[:, pattern]
            inner = seen.T @ seen
            inner.diagonal().add_(self.ridge)
            gap = (wanted - x)[rows][:, pattern]
            weights = torch.cholesky_solve(gap.T, torch.linalg.cholesky(inner))
            x[rows] += (seen @ weights).T @ self.root
        x = self.mean + self.scale * x
        return torch.where(known, values.double(), x)


def _ridge(x: Tensor) -> float:
    """The ridge that stands for the shrinkage of Ledoit and Wolf (2004) towards the identity."""
    m, d = x.shape
    gram = x @ x.T / m if m < d else x.T @ x / m  # either has the same trace and Frobenius norm
    frobenius, trace = float(gram.square().sum()), float(gram.diagonal().sum())
    apart = frobenius - trace**2 / d
    spread = (float(x.square().sum(1).square().sum()) / m - frobenius) / m
    share = min(spread / apart, 1.0) if apart > 0 else 0.0
    return share / max(1.0 - share, 1e-3)
