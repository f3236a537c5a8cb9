"""MeanFlow: average velocities, learned from scratch in one stage."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import SPAN, AverageVelocityMap, Field
from flowloom.layout import Layout
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Condition
from flowloom.state import Cond, State, batch_size
from flowloom.times import TimeLaw
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import mean_velocity_residual
from flowloom_fewstep.intervals import Intervals
from flowloom_fewstep.weighting import adaptive

__all__ = ["MeanFlow"]


class MeanFlow(Objective):
    r"""Learn the average velocity between two times (Geng et al. 2505.13447; Riemannian: 2510.21608).

    .. math:: L = E\; w\, \big\|u_\theta(x_s, s, t) - \mathrm{sg}(u_{tgt})\big\|^2, \qquad
       u_{tgt} = v + (t - s)\,\big(v \cdot \partial_x u_\theta + \partial_s u_\theta\big)

    in our direction of time (data at 1); :math:`v` is the velocity of the conditional path, the derivative
    one ``torch.func.jvp``, and the error summed over entries. On a curved geometry the residual is that of
    `flowloom_fewstep.identity`, which says what an average velocity is there. A share of the rows has s = t
    and is plain flow matching. The network reads ``s`` as its time and ``t - s`` as the setting ``span`` (the
    pair that the paper found best, table 1c); one evaluation ``exp_x(u(x, 0, 1))`` then samples.

    Args:
        path: where the points come from; injected from the recipe where none is given.
        times: law of either time, uniform by default. The paper's logit-normal(-0.4, 1) is, in our time,
            ``{use: logit-normal, mean: 0.4, std: 1}``.
        distinct: share of rows with two times, 1/4 on ImageNet and 3/4 on CIFAR-10 in the paper.
        power: p of the adaptive weight, see `flowloom_fewstep.weighting.adaptive`: 1 on ImageNet, 0.75 on
            CIFAR-10.
        guided: guidance to train in.
        condition_dropout: probability with which a row's conditions are withheld, drawn per row.

    Raises:
        IncompatibleError: the states are tokens, or the path jumps.
        ValueError: an argument is out of range.
    """

    also = ("velocity",)

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        distinct: float = 0.25,
        power: float = 1.0,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.path = path or AffinePath()
        if not self.path.geometry.continuous:
            raise IncompatibleError(
                "meanflow averages velocities, and discrete states have none; embed tokens first"
            )
        if not 0 <= condition_dropout < 1:
            raise ValueError(f"condition_dropout must lie in [0, 1), got {condition_dropout}")
        if power < 0:
            raise ValueError(f"power must not be negative, got {power}")
        self.intervals = Intervals.of(times, distinct)
        self.power, self.guided = power, guided or GuidedTarget()
        self.condition_dropout = condition_dropout

    @property
    def kind(self) -> str:
        """A flow map."""
        return "flow-map"

    def conditions(self) -> Mapping[str, Condition]:
        """The time ahead, ``t - s``."""
        return {SPAN: Condition(role="setting")}

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The flow map of the average velocity."""
        return AverageVelocityMap(model, self.path, source)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw s, t and x_s, call the network once in forward mode, compare with the identity.

        Raises:
            IncompatibleError: the network has no forward-mode derivative.
        """
        if not getattr(model, "jvp_safe", True):
            raise IncompatibleError(
                f"meanflow differentiates its network forward, and {type(model).__name__} cannot be "
                "(jvp_safe = False)"
            )
        n, layout = batch_size(batch.x1), batch.layout
        s, t = self.intervals.sample(n, Draw.like(batch.x1, step.generator))
        point = batch.point(self.path, s, step.generator)
        assert point.velocity is not None
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        network = AverageVelocityMap(model, self.path)

        def u(x: State, s: Tensor, t: Tensor, told: Cond = cond, held: Layout | None = layout) -> State:
            mean = network.mean(x, s, t, told)
            return mean if held is None else held.still(mean)

        def now(x: State, s: Tensor, told: Cond) -> State:
            return network.velocity(x, s, told)

        velocity = self.guided(now, point.x_t, s, point.velocity, cond)
        if layout is not None:
            velocity = layout.still(velocity)
        geometry = self.path.geometry
        found = mean_velocity_residual(u, geometry, point.x_t, s, t, velocity)
        squared = geometry.inner(found.point, found.error, found.error)
        return Loss(adaptive(squared, self.power).mean(), {"error": squared.detach().mean()})
