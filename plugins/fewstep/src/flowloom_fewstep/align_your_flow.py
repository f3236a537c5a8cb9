"""Align Your Flow: a trained flow made a map of any number of steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flowloom.fields import read_as
from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.state import State, map_state
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.identity import Residual, mean_velocity_residual
from flowloom_fewstep.pairs import Pair, PairObjective
from flowloom_fewstep.tangents import fixed, scaled
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
        if not 0 <= warm <= 1 or cut <= 0:
            raise ValueError(f"warm is a share and cut positive, got {warm}, {cut}")
        self.end, self.weak, self.scale, self.warm, self.cut = end, weak, scale, warm, cut

    def taught(self, pair: Pair, x: State, t: Tensor) -> State:
        """The teacher's velocity, autoguided where there is a weak one."""
        assert self.teacher is not None
        with torch.no_grad():
            strong = read_as(self.teacher.field(), "velocity")(x, t, pair.cond)
            if self.weak is None:
                return pair.still(strong)
            weak = read_as(self.weak.field(), "velocity")(x, t, pair.cond)
            mixed = map_state(lambda a, b: self.scale * a + (1 - self.scale) * b, strong, weak)
        return pair.still(mixed)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """The tangent g at its place, normalised."""
        if self.end == "eulerian":
            pair.require_jvp("align-your-flow")
            ramp = min(1.0, step.progress / self.warm) if self.warm else 1.0
            taught = self.taught(pair, pair.x, pair.s)
            found = mean_velocity_residual(
                pair.mean, pair.geometry, pair.x, pair.s, pair.t, taught, ramp=ramp
            )
        else:
            found = self._lagrangian(pair)
        size = pair.geometry.inner(found.point, found.error, found.error).detach().sqrt()
        return Residual(found.point, found.error, found.mean, 1 / (size + self.cut))

    def _lagrangian(self, pair: Pair) -> Residual:
        end, rate = map(fixed, terminal_velocity(pair, "align-your-flow"))
        wrong = map_state(torch.sub, rate, self.taught(pair, end, pair.t))
        mean = pair.mean(pair.x, pair.s, pair.t)
        moved = mean
        if not pair.geometry.flat:
            ahead = scaled(fixed(mean), pair.t - pair.s)
            _, moved, *_ = torch.func.jvp(lambda w: pair.geometry.exp(pair.x, w), (ahead,), (mean,))
        error = map_state(lambda g, m: g + m - m.detach(), wrong, moved)
        return Residual(end, error, mean)
