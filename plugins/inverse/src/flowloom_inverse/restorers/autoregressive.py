"""What is missing, as a linear predictor of the same signal would have it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers.classical import Rule

__all__ = ["Autoregressive"]

Array: TypeAlias = "npt.NDArray[np.float64]"
Marks: TypeAlias = "npt.NDArray[np.bool_]"


class Autoregressive(Rule):
    r"""The interpolation of Janssen, Veldhuis and Vries (1986): the classical rule for gaps of sound.

    Each row is taken for an autoregressive process :math:`\sum_k a_k x_{i-k} = e_i` of its own. In turn, its
    coefficients are those of the present answer (autocorrelation method), and unknown samples are those of
    the smallest error :math:`\sum_i e_i^2`, with what is known held. Samples that were cut off count as
    unknown; at the end the answer is settled, so that they are beyond the limit.

    Args:
        order: of the process, p.
        iterations: of both.
        ridge: of the autocorrelation, as a share of the signal's power.
    """

    def __init__(self, order: int = 32, iterations: int = 10, ridge: float = 1e-4) -> None:
        if order < 1 or iterations < 1 or not ridge > 0:
            raise ValueError(
                f"order and iterations count from 1, ridge is positive: {order}, {iterations}, {ridge}"
            )
        self.lags, self.iterations, self.ridge = order, iterations, ridge

    def answer(self, problem: Problem) -> Tensor:
        """Alternate; rows by themselves.

        Raises:
            IncompatibleError: the measurement tells no sample as it is, or data are no series of one column.
        """
        operator, y, drawn = problem.operator, problem.y, problem.drawn
        known = operator.known(y, drawn)
        if known is None or y.shape[1:].numel() != y.shape[1]:
            raise IncompatibleError(
                "autoregressive fills samples of a series of one column: operator: masking or clipping, "
                "of data (samples,) or (samples, 1)"
            )
        if y.shape[1] <= self.lags:
            raise IncompatibleError(
                f"autoregressive of order {self.lags} wants more samples than {y.shape[1]}"
            )
        x = operator.back(y, drawn).flatten(1).double().cpu().numpy()
        seen = known.flatten(1).cpu().numpy()
        for _ in range(self.iterations):
            x = np.stack([self._filled(row, mask) for row, mask in zip(x, seen, strict=True)])
        return operator.settle(torch.from_numpy(x).to(y).reshape(y.shape), y, drawn)

    def _filled(self, x: Array, seen: Marks) -> Array:
        """Once: the coefficients, then what is unknown."""
        # Every recipe of any domain knows this kind of part, and only this one of them needs the library.
        from scipy.linalg import solve_toeplitz, solveh_banded

        lost = np.flatnonzero(~seen)
        if not len(lost) or len(lost) == len(x):
            return x
        n, p, held = len(x), self.lags, np.where(seen, x, 0.0)
        r = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * n)) ** 2)[: p + 1]
        r[0] = r[0] * (1 + self.ridge) or 1.0  # silence has no power
        a = np.concatenate([[1.0], solve_toeplitz(r[:p], -r[1:])])
        # Beyond both ends the signal is 0, so that the squared errors have a matrix that is a band.
        b = np.correlate(a, a, "full")[p:]
        bands = np.zeros((min(p + 1, len(lost)), len(lost)))
        for k in range(len(bands)):
            apart = lost[k:] - lost[: len(lost) - k]
            bands[k, : len(apart)] = np.where(apart <= p, b[np.minimum(apart, p)], 0.0)
        pull = np.convolve(held, np.concatenate([b[:0:-1], b]))[p : p + n]
        held[lost] = solveh_banded(bands, -pull[lost], lower=True)
        return held
