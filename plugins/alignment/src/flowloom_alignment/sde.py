"""The flow as a chain of Gaussian steps: what policy gradients need of a sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.base import time_tensor
from flowloom.schedules import Schedule
from flowloom.solvers import EulerMaruyama
from flowloom.solvers.walk import Call
from flowloom.state import State, expand

__all__ = ["FlowSDE"]


class FlowSDE(EulerMaruyama):
    r"""The SDE of Flow-GRPO (Liu et al. 2505.05470, equations 9 to 12), which has the flow's marginals.

    .. math::
        x_{k+1} \sim N\big(x_k + (v + \tfrac12 g_t^2\,\nabla\log p_t)\,\Delta t,\ g_t^2\,\Delta t\, I\big),
        \qquad g_t = a \sqrt{\sigma_t / \alpha_t}

    which is :math:`a\sqrt{(1-t)/t}` on the straight path. g has no bound at the source: there alpha, and it
    alone, is that of the end of the first step, as in the authors' code. The last step draws, too. States are
    one tensor.

    Args:
        steps: number of equal steps; the paper trains with 10 and samples with 40.
        grid: times to walk instead.
        diffusion: a.
    """

    def __init__(self, steps: int = 10, grid: Sequence[float] | None = None, diffusion: float = 0.7) -> None:
        super().__init__(steps, grid, diffusion)

    def stds(self, field: Field, dtype: torch.dtype | None = None) -> Tensor:
        """Standard deviations of the steps along ``field``, ``(steps,)``."""
        schedule = self._schedule(field)
        times = torch.tensor(self.times(field.span), dtype=torch.float64)
        later = torch.cat([times[1:2], times[1:-1]])  # at its beginning the first step has no finite g
        ratio = schedule.sigma(times[:-1]) / schedule.alpha(later)
        return (self.diffusion * (ratio * times.diff()).sqrt()).to(dtype or torch.get_default_dtype())

    def require_noise(self, field: Field, what: str) -> None:
        """Ask that every step draws, or it has no density and ratios of it are 0 / 0.

        Raises:
            IncompatibleError: one does not, and which.
        """
        stds = self.stds(field)
        silent = (~((stds > 0) & stds.isfinite())).nonzero().flatten().tolist()
        if silent:
            raise IncompatibleError(
                f"{what} compares densities of steps, and step {silent[0] + 1} of {len(stds)} draws no "
                f"noise; take diffusion above 0, not {self.diffusion:g}"
            )

    def mean(self, field: Field, velocity: Tensor, x: Tensor, t: Tensor, dt: Tensor, std: Tensor) -> Tensor:
        """Where a step of length ``dt`` goes on average; ``t``, ``dt``, ``std`` are ``(batch,)``."""
        assert field.path is not None
        score = field.path.convert(velocity, x, t, "velocity", "score", field.source)
        assert isinstance(score, Tensor)
        return x + expand(dt, x) * velocity + expand(std.square() / 2, x) * score

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step with one network evaluation."""
        if not isinstance(x, Tensor):
            raise IncompatibleError("flow-sde walks states of one tensor, and these have parts")
        dt = t_next - t
        if dt < 0:
            raise IncompatibleError("flow-sde runs from source to data; its span must increase")
        now = torch.tensor(t, dtype=torch.float64)
        later = torch.tensor(t_next if t <= call.field.span[0] else t, dtype=torch.float64)
        schedule = self._schedule(call.field)
        std = time_tensor(self.diffusion * float(schedule.sigma(now) / schedule.alpha(later) * dt) ** 0.5, x)
        velocity = call(x, t)
        assert isinstance(velocity, Tensor)
        mean = self.mean(call.field, velocity, x, time_tensor(t, x), time_tensor(dt, x), std)
        noise = torch.randn(x.shape, generator=call.generator, device=x.device, dtype=x.dtype)
        return mean + expand(std, x) * noise

    @staticmethod
    def _schedule(field: Field) -> Schedule:
        assert field.path is not None
        assert field.path.schedule is not None
        return field.path.schedule
