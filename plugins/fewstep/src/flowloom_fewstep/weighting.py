"""Weights of rows by the size of their own error."""

from __future__ import annotations

from torch import Tensor

__all__ = ["adaptive"]


def adaptive(squared: Tensor, power: float, floor: float = 1e-3) -> Tensor:
    r"""Weight squared errors by a power of themselves: :math:`|d|^2 / \mathrm{sg}(|d|^2 + c)^p`.

    MeanFlow (2505.13447, equation 22; Geng et al. 2406.14548): p = 0 is the squared error, p = 1/2 close to
    Pseudo-Huber, p = 1 close to the logarithm of the error. The weight takes no gradient.

    Args:
        squared: squared errors ``(batch,)``, summed over entries.
        power: p.
        floor: c.
    """
    return squared if power == 0 else squared / (squared.detach() + floor) ** power
