"""Align Your Flow: a trained flow made a map of any number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.fields import AverageVelocityMap
from flowloom.objectives import Step
from flowloom.paths import Path, Point
from flowloom.state import Cond, State, map_state
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.identity import Residual, mean_velocity_residual
from flowloom_fewstep.pairs import Pair, PairObjective
from flowloom_fewstep.tangents import fixed, scaled
from flowloom_fewstep.teachers import mistaught, taught_velocity
from flowloom_fewstep.terminal import terminal_velocity

__all__ = ["AlignYourFlow"]


class AlignYourFlow(PairObjective):
    r"""Distil a teacher into a flow map (Sabour et al. 2506.14603), by either end of its jumps.

    *Eulerian* (AYF-EMD): along the teacher's flow the landing of a jump stays,

    .. math:: g = u_\theta - v_T - r\,(t - s) \tfrac{du_\theta}{ds}, \qquad
              L = E\,\big\|u_\theta - \mathrm{sg}\big(u_\theta - \tfrac{g}{|g| + c}\big)\big\|^2

    with r growing from 0 to 1 in a warm-up (tangent warm-up) and tangents normalised by c. With t = 1 always
    it would be continuous-time consistency distillation; with s = t it is flow matching of the teacher.
    *Lagrangian* (AYF-LMD): the landing moves as the teacher says there, :math:`g = \partial_t X_\theta -
    v_T(X_\theta, t)`, with the same semi-gradient, taken of :math:`u_\theta` and not of :math:`X_\theta`: a
    weight :math:`1 / (t - s)` of its rows. The paper writes times the other way round.

    Autoguidance (Karras et al. 2406.02507) is :math:`v_T = \lambda v + (1 - \lambda) v_{weak}`. Here the
    scale is one a run; the paper draws it and tells the student. The adversarial finish is
    `adversarial-flow`, begun from the student.

    Args:
        teacher: the flow to distil, with its own guidance.
        path: where the states come from.
        times: law of either time.
        end: at which end of a jump it is compared, the first (eulerian) or the last.
        weak: a smaller or less trained teacher; none for no autoguidance.
        scale: lambda.
        distinct: share of rows with two times.
        warm: share of the training in which r grows; the paper's is 10,000 steps.
        cut: c of the normalised tangent.
        condition_dropout: see `PairObjective`.

    Raises:
        ValueError: an argument is out of range.
        IncompatibleError: the network has no forward-mode derivative.
    """

    def __init__(
        self,
        teacher: Trained,
        path: Path | None = None,
        times: TimeLaw | None = None,
        end: Literal["eulerian", "lagrangian"] = "eulerian",
        weak: Trained | None = None,
        scale: float = 2.0,
        distinct: float = 0.75,
        warm: float = 0.1,
        cut: float = 0.1,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, distinct, 0.0, condition_dropout=condition_dropout, teacher=teacher)
        if not 0 <= warm <= 1 or not 0 < cut < math.inf:
            raise ValueError(f"warm is a share, and cut positive and finite; got {warm}, {cut}")
        if not math.isfinite(scale):
            raise ValueError(f"scale must be finite, got {scale}")
        self.end, self.weak, self.scale, self.warm, self.cut = end, weak, scale, warm, cut

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A weak teacher of another flow; see `PairObjective.clashes`."""
        yield from super().clashes(parts)
        yield from mistaught(self.weak, parts, self.path, "weak teacher")

    def velocity(self, network: AverageVelocityMap, point: Point, s: Tensor, cond: Cond, step: Step) -> State:
        """The teacher's; at the last end of a jump it is asked there alone."""
        if self.end == "lagrangian":
            assert point.velocity is not None
            return point.velocity
        return super().velocity(network, point, s, cond, step)

    def taught(self, x: State, t: Tensor, cond: Cond, step: Step) -> State:
        """The teacher's velocity, autoguided where there is a weak one."""
        strong = super().taught(x, t, cond, step)
        if self.weak is None:
            return strong
        weak = taught_velocity(self.weak, x, t, cond, step.generator)
        return map_state(lambda a, b: self.scale * a + (1 - self.scale) * b, strong, weak)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """The tangent g at its place, normalised."""
        if self.end == "eulerian":
            pair.require_jvp("align-your-flow")
            ramp = min(1.0, step.progress / self.warm) if self.warm else 1.0
            found = mean_velocity_residual(
                pair.mean, pair.geometry, pair.x, pair.s, pair.t, pair.velocity, ramp=ramp
            )
        else:
            found = self._lagrangian(pair, step)
        size = pair.geometry.inner(found.point, found.error, found.error).detach().sqrt()
        return Residual(found.point, found.error, found.mean, 1 / (size + self.cut))

    def _lagrangian(self, pair: Pair, step: Step) -> Residual:
        end, rate = map(fixed, terminal_velocity(pair, "align-your-flow"))
        wrong = map_state(torch.sub, rate, pair.still(self.taught(end, pair.t, pair.cond, step)))
        mean = pair.mean(pair.x, pair.s, pair.t)
        moved = mean
        if not pair.geometry.flat:
            ahead = scaled(fixed(mean), pair.t - pair.s)
            _, moved, *_ = torch.func.jvp(lambda w: pair.geometry.exp(pair.x, w), (ahead,), (mean,))
        error = map_state(lambda g, m: g + m - m.detach(), wrong, moved)
        return Residual(end, error, mean)
