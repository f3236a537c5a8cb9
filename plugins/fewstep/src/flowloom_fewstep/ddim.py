"""DDIM: steps in the plane of data and noise."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.base import time_tensor
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State, expand, map_state

__all__ = ["DDIM"]


class DDIM(FixedGrid):
    r"""A step keeps what the field says of data and noise (Song et al. 2010.02502, with no fresh noise).

    .. math::
        x_{t'} = \alpha_{t'} \hat x_1 + \sigma_{t'} \hat x_0, \quad
        \hat x_0 = (x_t - \alpha_t \hat x_1) / \sigma_t

    It is Euler's method in :math:`\alpha/\sigma`, so exact on any schedule where :math:`\hat x_0` is constant
    along the way, however curved that is in x (Wang et al. 2410.07303, section 3): on the straight schedule
    it is Euler's method itself. It walks from source to data alone.

    Args:
        steps: number of equal steps in time.
        grid: times to walk instead.
    """

    consumes = "data"
    order = 1

    def __init__(self, steps: int = 20, grid: Sequence[float] | None = None) -> None:
        super().__init__(steps, grid)

    def prepare(self, field: Field) -> Field:
        """Predictions of data on an affine path."""
        if field.path is None or not field.path.affine or field.path.schedule is None:
            raise IncompatibleError(
                "ddim steps between the data and noise of an affine path; use euler or heun"
            )
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step, one evaluation."""
        assert call.field.path is not None
        schedule = call.field.path.schedule
        assert schedule is not None
        now, then = time_tensor(t, x), time_tensor(t_next, x)

        def leaf(point: Tensor, data: Tensor, now: Tensor, then: Tensor) -> Tensor:
            now, then = expand(now, point), expand(then, point)
            noise = (point - schedule.alpha(now) * data) / schedule.sigma(now)
            return schedule.alpha(then) * data + schedule.sigma(then) * noise

        return map_state(leaf, x, call(x, t), now, then)
