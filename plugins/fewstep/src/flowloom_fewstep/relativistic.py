"""The losses of a critic and of what it judges, pair by pair."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["centring", "relativistic", "steepness"]


def relativistic(wanted: Tensor, other: Tensor) -> Tensor:
    r"""``softplus(-(wanted - other))`` of every pair (Jolicoeur-Martineau 1807.00734): ``(batch,)``.

    The critic wants its logit of the real state above that of the made one, the generator the other way
    round.
    """
    return softplus(-(wanted - other))


def steepness(logits: Tensor, beside: Tensor, eps: float) -> Tensor:
    r"""Squared slope of a critic, by differences: :math:`(D(x) - D(x + \epsilon n))^2 / \epsilon^2`,
    ``(batch,)``.

    For a standard normal n its mean tends to :math:`\|\nabla D\|^2`, the penalties R1 at real and R2 at made
    states, without a second derivative (2511.22475; Lin et al. 2501.08316).

    Args:
        logits: at states.
        beside: at the same states with noise of size ``eps`` added.
        eps: size of the noise.
    """
    return ((logits - beside) / eps).square()


def centring(real: Tensor, made: Tensor) -> Tensor:
    """``(D(x) + D(y))^2``, ``(batch,)``: keeps logits, compared by differences alone, from drifting."""
    return (real + made).square()
