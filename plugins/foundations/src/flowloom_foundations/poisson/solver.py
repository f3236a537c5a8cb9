"""EDM's deterministic sampler."""

from __future__ import annotations

from flowloom.fields import Field
from flowloom.solvers import Heun
from flowloom.solvers.stepping import move
from flowloom.solvers.walk import Call
from flowloom.state import State
from flowloom_foundations.poisson.levels import NoiseLevels


class EDMHeun(Heun):
    r"""Heun's method on noise levels that crowd at the data (2206.00364, algorithm 1 without churn).

    .. math:: \sigma_i = \Big(\sigma_{max}^{1/\rho}
              + \frac i{n-1}\big(\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho}\big)\Big)^\rho,
              \qquad \sigma_n = 0.

    On a path of noise levels walked to its end, the last of the ``steps`` goes on from sigma_min to 0, by
    Euler's method, which there is the denoiser itself. Any other walk (of a part of the span, backwards, of a
    likelihood) takes all steps on its span, of times that are not negative.

    Args:
        steps: n, the last one included; 2 n - 1 evaluations.
        rho: how closely steps crowd at the small times; 1 spaces them evenly.
    """

    def __init__(self, steps: int = 18, rho: float = 7.0) -> None:
        super().__init__(steps)
        if rho <= 0:
            raise ValueError(f"rho must be positive, got {rho}")
        self.rho = rho

    def times(self, span: tuple[float, float]) -> list[float]:
        """All steps on ``span``, both ends included."""
        return self._spaced(span, self.steps)

    def _spaced(self, span: tuple[float, float], steps: int) -> list[float]:
        start, end = span
        if min(span) < 0:
            raise ValueError(f"edm-heun walks noise levels, which are not negative; got the span {span}")
        first, last = start ** (1 / self.rho), end ** (1 / self.rho)
        inner = [(first + (last - first) * (i / steps)) ** self.rho for i in range(1, steps)]
        return [start, *inner, end]

    def walked(self, field: Field, span: tuple[float, float]) -> list[float]:
        """The grid, and 0 after it where the walk ends at the data."""
        path = field.path
        # Densities are carried along on a larger space; denoising would not carry them.
        whole = isinstance(path, NoiseLevels) and field.geometry is path.geometry
        if not whole or path is None or span[1] != path.span[1] or span[0] <= span[1] or self.steps < 2:
            return self.times(span)
        return [*self._spaced(span, self.steps - 1), 0.0]

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step of Heun, of Euler where it ends at level 0, at which no velocity is known."""
        if t_next == 0 < t:
            return move(call.field.geometry, x, -t, (1.0,), (call(x, t),), self.retraction)
        return super().step(call, x, t, t_next, last=last)
