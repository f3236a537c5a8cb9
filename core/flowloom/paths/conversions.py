r"""Conversions between velocity, data, noise and score on affine paths: the one place that knows them.

With :math:`x_t = \alpha x_1 + \sigma x_0` and :math:`D = \dot\alpha\sigma - \alpha\dot\sigma`
(2412.06264, table 1):

.. math::
    v = \dot\alpha\, E[x_1] + \dot\sigma\, E[x_0], \quad
    E[x_1] = \frac{\sigma v - \dot\sigma x}{D}, \quad
    E[x_0] = \frac{\dot\alpha x - \alpha v}{D}, \quad
    \nabla\log p_t = -\frac{E[x_0]}{s^2 \sigma}

for a source :math:`N(0, s^2 I)`.
"""

from __future__ import annotations

from typing import TypeAlias, Union

import torch
from torch import Tensor

from flowloom.schedules import Schedule
from flowloom.state import State, Time, expand, map_state

__all__ = ["AFFINE_KINDS", "Kind", "affine", "kind_name", "margin", "uniform_kind"]

Kind: TypeAlias = Union[str, "dict[str, Kind]"]

AFFINE_KINDS = ("velocity", "data", "noise", "score")


def uniform_kind(kind: Kind) -> str | None:
    """The one kind shared by all parts, or None where they differ."""
    if isinstance(kind, str):
        return kind
    kinds = {uniform_kind(k) for k in kind.values()}
    return kinds.pop() if len(kinds) == 1 else None


def kind_name(kind: Kind) -> str:
    """A kind as people read it: ``velocity``, ``{pos: velocity, types: posterior}``."""
    if isinstance(kind, str):
        return kind
    return "{" + ", ".join(f"{k}: {kind_name(v)}" for k, v in kind.items()) + "}"


def margin(dtype: torch.dtype) -> float:
    """How far from t=0 and t=1 divisions by alpha and sigma stay; half precision is not divided in."""
    return 1e-6 if dtype == torch.float64 else 1e-4


def affine(
    value: State, x: State, t: Time, schedule: Schedule, given: str, wanted: str, std: float = 1.0
) -> State:
    """Turn one prediction on an affine path into another at the same state and time.

    Args:
        value: the prediction, in the shape of ``x``.
        x: state ``x_t``.
        t: times ``(batch,)``; divisions that are singular at an end are taken 1e-4 before it (1e-6 in
            float64), and schedules with a ``latest`` time are not asked beyond it.
        schedule: of the affine path.
        given: kind of ``value``: velocity, data, noise or score.
        wanted: kind to return.
        std: of the Gaussian source (only the score depends on it).
    """
    if given == wanted:
        return value

    def leaf(v: Tensor, x: Tensor, t: Tensor) -> Tensor:
        if x.dtype.itemsize < 4:
            # Half precision holds no time that near to 1.
            return leaf(v.float(), x.float(), t.float()).to(x.dtype)
        eps = margin(x.dtype)
        # The determinant of some schedules vanishes at t=0 (alpha = t^n), as alpha does for all.
        t = expand(t.to(x.dtype), x).clamp(eps, schedule.latest)
        if given != "velocity" or wanted == "score":
            # Data and score need sigma > 0; velocity does not.
            t = t.clamp(max=1 - eps)
        of_value, of_state = _weights(schedule, t, given, wanted, std)
        # One weight a row of each: two passes over the states, whatever the kinds.
        weighed = of_value * v
        return weighed if of_state is None else torch.addcmul(weighed, of_state, x)

    return map_state(leaf, value, x, t)


def _weights(
    schedule: Schedule, t: Tensor, given: str, wanted: str, std: float
) -> tuple[Tensor, Tensor | None]:
    """What is wanted is linear in the given prediction and the state; their weights, None for 0."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    da, ds = schedule.d_alpha(t), schedule.d_sigma(t)
    noise: tuple[Tensor, Tensor | None]
    if given == "velocity":
        determinant = da * sigma - alpha * ds
        if wanted == "data":
            return sigma / determinant, -ds / determinant
        noise = -alpha / determinant, da / determinant
    elif given == "data":
        noise = -alpha / sigma, 1 / sigma
        if wanted == "velocity":
            return da + ds * noise[0], ds / sigma
    else:
        noise = torch.ones_like(sigma) if given == "noise" else -(std**2) * sigma, None
    if wanted == "noise":
        return noise
    if wanted == "score":
        scale = -1 / (std**2 * sigma)
        return noise[0] * scale, None if noise[1] is None else noise[1] * scale
    data = -sigma * noise[0] / alpha, 1 / alpha
    return data if wanted == "data" else (da * data[0] + ds * noise[0], da * data[1])
