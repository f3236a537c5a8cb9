"""Terminal velocity matching: jumps whose ends move as the flow does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from flowloom.conditions import is_null
from flowloom.draw import Draw
from flowloom.fields import AverageVelocityMap
from flowloom.objectives import Batch, Loss, Step
from flowloom.paths import Path
from flowloom.state import Cond, batch_size, map_state
from flowloom.times import TimeLaw
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.intervals import gap_first
from flowloom_fewstep.pairs import Pair, PairObjective
from flowloom_fewstep.tangents import fixed
from flowloom_fewstep.terminal import terminal_velocity
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["TerminalVelocityMatching"]


class TerminalVelocityMatching(PairObjective):
    r"""The end of a jump moves with the velocity that the flow has there (Zhou et al. 2511.19797).

    .. math:: L = E\,\big\|\partial_t X_\theta(x_s, s, t) - \mathrm{sg}\, v_{ema}(X_\theta, t)\big\|^2
              + E\,\big\|u_\theta(x_q, q, q) - v\big\|^2, \qquad X_\theta = \exp_x((t - s)\, u_\theta)

    The first error is differentiated through its forward-mode derivative; the averaged network and the state
    where it is asked are not. The velocities of the network's own diagonal come by the second, flow matching
    at a time q of its own. Its sum bounds the squared Wasserstein-2 distance to the data (theorem 1) where
    networks are Lipschitz. On a manifold the error is a tangent at the end of the jump.

    Pairs are drawn by their gap first: t - s of ``gap``, then t of ``times`` cut to [t - s, 1].

    Args:
        path: see `PairObjective`.
        times: law of t, and of q; the paper's is ``{use: logit-normal, mean: 0.4}`` in our time.
        gap: law of t - s; the paper's ``{use: logit-normal, mean: -0.8}``. Without it two draws of ``times``
            are put in order.
        detached: whether the derivative is a target, too, which the paper advises against.
        guided: guidance to train in; the paper's weight w is ``{scale: w}``, and the averaged network is
            asked. Guided rows count :math:`1 / w^2`, those whose conditions are withheld 1; the network is
            not told w, which is one of the run.
        condition_dropout: see `PairObjective`.

    Raises:
        IncompatibleError: the network has no forward-mode derivative.
        TrainingError: nothing is averaged (``train.ema``).
    """

    averages = True
    compiles = False

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        gap: TimeLaw | None = None,
        detached: bool = False,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            path, times, distinct=1.0, power=0.0, guided=guided, condition_dropout=condition_dropout
        )
        require_unit_time("terminal-velocity-matching", self.path, gap)
        self.gap, self.detached = gap, detached

    def draw_times(self, n: int, draw: Draw, step: Step) -> tuple[Tensor, Tensor]:
        """Both ends of every jump."""
        if self.gap is None:
            return super().draw_times(n, draw, step)
        return gap_first(self.intervals.law, self.gap, n, draw)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """The terminal error: one call in forward mode, one of the averaged network."""
        end, rate = terminal_velocity(pair, "terminal-velocity-matching")
        end = fixed(end)
        with torch.no_grad():
            wanted = pair.asks(step.averaged.model)(end, pair.t)
        if self.detached:
            # The derivative alone is a target: what is left has the value of the error, and u's gradient.
            mean = pair.mean(pair.x, pair.s, pair.t)
            rate = map_state(lambda r, u: r.detach() + u - u.detach(), rate, mean)
        return Residual(end, map_state(torch.sub, rate, wanted), rate)

    def guide(self, network: AverageVelocityMap, step: Step) -> AverageVelocityMap:
        """The averaged network, as for the velocities at ends of jumps."""
        return AverageVelocityMap(step.averaged.model, self.path)

    def weight(self, cond: Cond) -> Tensor | float:
        """``1 / w^2`` of rows that are guided by w, and 1 of rows whose conditions are withheld."""
        if not self.guided.changes or all(is_null(name) for name in cond):
            return 1.0
        weight, withheld = 1 / self.guided.effective_scale**2, cond.get("null")
        return weight if withheld is None else torch.where(withheld, 1.0, weight)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Both errors, rows weighted by `weight`."""
        pair = self.pair(model, batch, step)
        terminal = self.score(replace(self.residual(pair, step), weight=self.weight(pair.cond)))
        now = self.intervals.law.sample(batch_size(batch.x1), Draw.like(batch.x1, step.generator))
        point = self.pair(model, batch, step, times=(now, now))
        mean = point.mean(point.x, now, now)
        error = map_state(torch.sub, mean, point.velocity)
        matching = self.score(Residual(point.x, error, mean, self.weight(point.cond)))
        assert isinstance(terminal.total, Tensor)
        assert isinstance(matching.total, Tensor)
        parts = {"terminal": terminal.parts["error"], "matching": matching.parts["error"]}
        return Loss(terminal.total + matching.total, parts)
