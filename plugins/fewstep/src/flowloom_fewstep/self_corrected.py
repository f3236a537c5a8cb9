"""Self-corrected flow distillation: one step and few steps of one student that agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, NetworkField
from flowloom.layout import mean_of_entries
from flowloom.models import Critic
from flowloom.models.attention import differentiable_twice
from flowloom.objectives import Batch, Loss, Objective, Step, Turn
from flowloom.paths import AffinePath, Path
from flowloom.schedules import CondOT
from flowloom.sources import Source
from flowloom.state import State, batch_size, expand, first_leaf, map_state
from flowloom.trained import Trained
from flowloom_fewstep.tangents import fixed, scaled
from flowloom_fewstep.teachers import mistaught, taught_velocity
from flowloom_fewstep.unit_time import require_unit_time

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["SelfCorrected"]


class SelfCorrected(Objective):
    r"""Consistency both ways, a critic of the one-step sample, and its reflow (Dao et al. 2412.16906).

    With :math:`D(x, s) = \exp_x((1 - s) v(x, s))` the data that a velocity implies, teacher :math:`v_T`,
    :math:`x_s` on the path, :math:`x_a, x_b` one step of the teacher from it towards data and noise, of
    lengths uniform up to ``reach`` or the end, and :math:`y = D_\theta(x_0, 0)`,

    .. math::
        L &= H\big(D_\theta(x_s, s), \mathrm{sg} D_{ema}(x_a, a)\big)
           + w\, H\big(D_\theta(x_s, s), \mathrm{sg} D_{ema}(x_b, b)\big) \\
          &\quad + w\, \big|D_\theta(x'_s, s) - \mathrm{sg}\, y\big|^2 + w\, \log(1 + e^{-C(y)}),
          \qquad x'_s \text{ between } x_0 \text{ and } \mathrm{sg}\, y

    where the first target is the data themselves for a beyond 1 - ``truncate``, H is pseudo-Huber with c, and
    the critic C descends the logistic loss with R1 at data. The critic makes the one step sharp; the way
    back towards noise, and the reflow, hand that to later times. All w are 0.1 in the paper. The average is
    ``train.ema``, for which the paper has a quick 0.9; it keeps a slow one beside it for sampling, and here
    the quick one samples. On curved spaces D is a geodesic, and H of distances.

    Args:
        teacher: v_T, with its own guidance; the student begins as its network.
        critic: C, told time 1.
        path: where the states come from; straight, or geodesic.
        reach: longest step of the teacher.
        truncate: of the time next to the data.
        huber: c.
        backward: w of the consistency towards noise.
        reflow: w of the reflow.
        adversarial: w of the critic; 0 leaves it out.
        late: share of the training after which backward and reflow join.
        penalty: gamma of R1.

    Raises:
        IncompatibleError: states are tokens or have parts, or the path bends.
        ValueError: an argument is out of range.
    """

    averages = True

    def __init__(
        self,
        teacher: Trained,
        critic: Critic,
        path: Path | None = None,
        reach: float = 0.1,
        truncate: float = 0.4,
        huber: float = 0.01,
        backward: float = 0.1,
        reflow: float = 0.1,
        adversarial: float = 0.1,
        late: float = 0.1,
        penalty: float = 1.0,
    ) -> None:
        super().__init__()
        self.teacher, self.critic, self.path = teacher, critic, path or AffinePath()
        if not self.path.geometry.continuous or (
            self.path.affine and not isinstance(self.path.schedule, CondOT)
        ):
            raise IncompatibleError(
                "self-corrected reads data off straight lines; use path: geodesic, or {use: affine, "
                "schedule: cond-ot}"
            )
        require_unit_time("self-corrected", self.path)
        if not (0 < reach <= 1 and 0 <= truncate <= 1 and 0 <= late < 1) or not 0 < huber < math.inf:
            raise ValueError(
                "reach, truncate and late are shares of the time, and huber is positive and finite; got "
                f"{reach}, {truncate}, {late}, {huber}"
            )
        weights = backward, reflow, adversarial, penalty
        if not all(0 <= weight < math.inf for weight in weights):
            raise ValueError(f"weights are at least 0 and finite, got {', '.join(map(str, weights))}")
        self.reach, self.truncate, self.huber, self.late = reach, truncate, huber, late
        self.backward, self.reflow, self.adversarial = backward, reflow, adversarial
        self.penalty = penalty
        self.compiles = adversarial == 0  # the critic's slope at data

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A teacher of another flow."""
        yield from mistaught(self.teacher, parts, self.path)

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return NetworkField(model, "velocity", self.path, source)

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """The critic's, where there is one in the loss, then the student's."""

        def judge(batch: Batch, step: Step) -> Loss:
            return self.critic_loss(flow.model, batch)

        def learn(batch: Batch, step: Step) -> Loss:
            return self.loss(flow.model, batch, step)

        own = {id(p) for p in self.critic.parameters()}
        judging = {name: p for name, p in flow.trainable().items() if id(p) in own}
        learning = {name: p for name, p in flow.trainable().items() if id(p) not in own}
        student = Turn("student", learn, learning)
        return (Turn("critic", judge, judging), student) if self.adversarial else (student,)

    def data(self, model: nn.Module, x: State, s: Tensor, batch: Batch) -> State:
        """``D(x, s)``: one network call."""
        v = self.field(model)(x, s, batch.cond)
        v = v if batch.layout is None else batch.layout.still(v)
        return self.path.geometry.exp(x, scaled(v, 1 - s))

    def critic_loss(self, model: nn.Module, batch: Batch) -> Loss:
        """The logistic loss of data and of one-step samples, with the slope at data."""
        with torch.no_grad():
            made = self._one_step(model, batch)
        assert isinstance(batch.x1, Tensor)
        real = batch.x1.detach().requires_grad_()
        with differentiable_twice():
            says, other = (self._judged(x, batch) for x in (real, made))
        (slope,) = torch.autograd.grad(says.sum(), real, create_graph=True)
        slope = self.path.geometry.to_tangent(real, slope)
        steep = self.path.geometry.inner(real, slope, slope).mean()
        logistic = softplus(-says).mean() + softplus(other).mean()
        return Loss(logistic + self.penalty / 2 * steep, {"slope": steep.detach()})

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The student's: four calls of it with gradient at most, two of its average, one of the teacher."""
        n, draw, geometry = batch_size(batch.x1), Draw.like(batch.x1, step.generator), self.path.geometry
        s = draw.uniform((n,))
        x = batch.point(self.path, s, step.generator).x_t
        found = self.data(model, x, s, batch)
        with torch.no_grad():
            taught = taught_velocity(self.teacher, x, s, batch.cond, step.generator)
            taught = taught if batch.layout is None else batch.layout.still(taught)
            targets = []
            for sign, room in ((1.0, 1 - s), (-1.0, s)):
                h = sign * draw.uniform((n,)) * room.clamp(max=self.reach)
                beside = geometry.exp(x, scaled(taught, h))
                targets.append(self.data(step.averaged.model, beside, s + h, batch))
                if sign > 0:
                    known = s + h > 1 - self.truncate
                    targets[0] = _chosen(known, batch.x1, targets[0])
        parts = {"consistency": self._apart(found, targets[0], batch, self.huber)}
        joined = step.progress >= self.late
        if self.backward and joined:
            parts["backward"] = self.backward * self._apart(found, targets[1], batch, self.huber)
        if self.adversarial or (self.reflow and joined):
            y = self._one_step(model, batch)
            if self.adversarial:
                parts["adversarial"] = self.adversarial * softplus(-self._judged(y, batch)).mean()
            if self.reflow and joined:
                own = Batch(batch.x0, fixed(y), batch.cond, batch.layout)
                there = own.point(self.path, s, step.generator).x_t
                again = self.data(model, there, s, batch)
                parts["reflow"] = self.reflow * self._apart(again, fixed(y), batch, None)
        total = torch.stack(list(parts.values())).sum()
        return Loss(total, {name: value.detach() for name, value in parts.items()})

    def _one_step(self, model: nn.Module, batch: Batch) -> State:
        start = first_leaf(batch.x0).new_zeros(batch_size(batch.x0))
        x0 = batch.x0 if batch.layout is None else batch.layout.holding(batch.x1).hold(batch.x0)
        return self.data(model, x0, start, batch)

    def _judged(self, x: State, batch: Batch) -> Tensor:
        leaf = first_leaf(x)
        # What stands in padding would tell data from samples.
        x = x if batch.layout is None else batch.layout.zero(x)
        said: Tensor = self.critic(x, leaf.new_ones(len(leaf)), **batch.cond)
        return said

    def _apart(self, found: State, wanted: State, batch: Batch, c: float | None) -> Tensor:
        geometry, layout = self.path.geometry, batch.layout
        away = geometry.log(wanted, found)
        away = away if layout is None else layout.still(away)
        square = away.square() if geometry.straight else geometry.inner_point(wanted, away, away)
        value = square if c is None else (square + c**2).sqrt() - c
        free = layout.free if layout is not None else None
        return mean_of_entries(value, free).mean()


def _chosen(rows: Tensor, these: State, those: State) -> State:
    return map_state(lambda a, b: torch.where(expand(rows, a), a, b), these, those)
