"""Flow maps from a teacher and noise alone: no data set, so nothing that the teacher could not have made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts, lacking_role
from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import AverageVelocityMap, Field
from flowloom.objectives import Batch, Loss, Step, Turn
from flowloom.paths import Path
from flowloom.schedules import CondOT
from flowloom.sources import Source
from flowloom.state import Cond, State, batch_size, expand, first_leaf, leaves, map_state
from flowloom.times import LogitNormal, TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.another_row import another_row
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.pairs import Pair, PairObjective

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["FreeFlow", "FromNoise"]


class FromNoise(AverageVelocityMap):
    """A map that is known from the source on only: it cannot be walked in several jumps."""

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """One network call, from time 0.

        Raises:
            IncompatibleError: the jump begins elsewhere.
        """
        if bool((s != 0).any()):
            raise IncompatibleError(
                "this map is one from noise alone; take solver: {use: flow-map, steps: 1}"
            )
        return super().jump(x, s, t, cond)

    def as_kind(self, kind: object) -> Field | None:
        """It is nothing else: its velocity is known at the source alone."""
        return None


class FreeFlow(PairObjective):
    r"""Distil a teacher's flow by its prior alone (FreeFlow, 2511.19428).

    The student jumps from noise, :math:`X(z, d) = z + d\,F(z, d)`. *Prediction*: it moves as the teacher says
    where it has landed,

    .. math:: L_p = E\,\big\|F(z, d) - \mathrm{sg}\big(u^*(X(z, d), d) - d\,\partial_d F(z, d)\big)\big\|^2 ,

    at times d that lie late rather than early, as errors add up on the way. *Correction*: a network g,
    which begins as the teacher, follows the velocity of the student's samples, noised afresh;
    with :math:`y = X(z, 1)` and :math:`x_r = (1 - r) n + r y`,

    .. math:: L_g = E\,\|g(x_r, r) - (y - n)\|^2, \qquad
              \nabla_\theta L_c \propto E\,\langle g(x_r, r) - u^*(x_r, r),\ \partial_\theta y\rangle ,

    which moves samples towards where the teacher's law has more of them. It is rescaled to the size of the
    prediction's error, times ``correction``. Neither gradient passes through the teacher.

    Not told by the paper, as far as it was at hand: weights, laws of d and r, moves of g; they are arguments.

    Args:
        teacher: u*, with its own guidance.
        path: the straight one.
        times: law of d; logit-normal with mean 1 where null.
        correction: weight of the correction; 0 leaves it, and the network g, out.
        fake_moves: moves of g for one of the student.
        condition_dropout: see `PairObjective`.
    """

    also = ()  # type: ignore[assignment]

    def __init__(
        self,
        teacher: Trained,
        path: Path | None = None,
        times: TimeLaw | None = None,
        correction: float = 1.0,
        fake_moves: int = 2,
        condition_dropout: float = 0.0,
    ) -> None:
        law = times or LogitNormal(mean=1.0)
        super().__init__(path, law, 1.0, 0.0, condition_dropout=condition_dropout, teacher=teacher)
        if not 0 <= correction < math.inf or fake_moves < 1:
            raise ValueError(
                "correction is at least 0 and finite, and fake_moves counts from 1; got "
                f"{correction}, {fake_moves}"
            )
        if not (self.path.affine and self.path.geometry.flat and isinstance(self.path.schedule, CondOT)):
            raise IncompatibleError(
                "free-flow noises its samples along straight lines: path: affine, cond-ot"
            )
        self.law, self.correction, self.fake_moves = law, correction, fake_moves

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The map from noise."""
        return FromNoise(model, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Solvers of several jumps, and no network that follows the samples; see `PairObjective.clashes`."""
        yield from super().clashes(parts)
        if self.correction:
            yield from lacking_role("fake", "objective", parts)
        if getattr(parts.get("solver"), "steps", 1) != 1:
            yield Clash("solver", "objective", "a map from noise alone is sampled in one jump: steps: 1")

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """The student's, then that of the network which follows its samples."""
        if not self.correction:
            return super().turns(flow)
        fake = flow.roles["fake"]

        def student(batch: Batch, step: Step) -> Loss:
            return self.corrected(flow.model, fake, batch, step)

        def follow(batch: Batch, step: Step) -> Loss:
            return self.following(flow.model, fake, batch, step)

        return (
            Turn("student", student, flow.trainable("model.*")),
            Turn("fake", follow, flow.trainable("roles.fake.*"), repeat=self.fake_moves),
        )

    def pair(
        self, model: nn.Module, batch: Batch, step: Step, times: tuple[Tensor, Tensor] | None = None
    ) -> Pair:
        """Noise, and a time that it travels to; rows of data are not looked at."""
        n, layout = batch_size(batch.x0), batch.layout
        d = self.law.sample(n, Draw.like(batch.x0, step.generator)) if times is None else times[1]
        network = AverageVelocityMap(model, self.path)
        start = batch.x0 if layout is None else layout.holding(batch.x1).hold(layout.fill(batch.x0))
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        return Pair(network, start, torch.zeros_like(d), d, start, cond, layout)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """How the map moves beside how the teacher moves where it is."""
        pair.require_jvp("free-flow")
        d = pair.t
        found: Any = torch.func.jvp(lambda t: pair.mean(pair.x, pair.s, t), (d,), (torch.ones_like(d),))
        moved, rate = found
        with torch.no_grad():
            landing = pair.along(pair.x, moved, d)
            taught = pair.still(self.taught(landing, d, pair.cond, step))
        target = map_state(lambda u, v: (u - expand(d, v) * v).detach(), taught, rate)
        error = map_state(torch.sub, moved, target)
        return Residual(landing, error, moved)

    def corrected(self, model: nn.Module, fake: nn.Module, batch: Batch, step: Step) -> Loss:
        """Prediction and correction, the latter of the size of the former's error."""
        pair = self.pair(model, batch, step)
        found = self.residual(pair, step)
        own = self.score(found)
        y, x, r, _ = self._noised(pair, step)
        with torch.no_grad():
            apart = map_state(torch.sub, fake(x, r, **pair.cond), self.taught(x, r, pair.cond, step))
            apart = pair.still(apart)
            size = _rms(found.error) / _rms(apart).clamp_min(1e-8)
        assert isinstance(own.total, Tensor)
        push = torch.stack([(a * b).flatten(1).sum(1).mean() for a, b in _pairs(y, apart)]).sum()
        # The gradient of |e|^2 is 2 e.
        total = own.total + 2 * self.correction * size * push
        return Loss(total, {**own.parts, "apart": _rms(apart)})

    def following(self, model: nn.Module, fake: nn.Module, batch: Batch, step: Step) -> Loss:
        """Flow matching of the student's samples."""
        now = first_leaf(batch.x0).new_zeros(batch_size(batch.x0))
        pair = self.pair(model, batch, step, times=(now, now))
        with torch.no_grad():
            y, x, r, n = self._noised(pair, step)
        wrong = pair.still(map_state(lambda g, a, b: g - (a - b), fake(x, r, **pair.cond), y, n))
        return Loss(torch.stack([leaf.square().mean() for leaf, _ in _pairs(wrong, wrong)]).sum())

    def _noised(self, pair: Pair, step: Step) -> tuple[State, State, Tensor, State]:
        draw, zero = Draw.like(pair.x, step.generator), pair.s
        y = pair.jump(pair.x, zero, torch.ones_like(zero))
        # Fresh noise of the same law: that of another row.
        order = another_row(len(zero), draw, "free-flow")
        noise = map_state(lambda leaf: leaf[order], pair.x)
        noise = noise if pair.layout is None else pair.layout.stand(noise, pair.x)
        r = draw.uniform((len(zero),))
        x = self.path.sample(noise, map_state(Tensor.detach, y), r).x_t
        return y, x, r, noise


def _pairs(a: State, b: State) -> list[tuple[Tensor, Tensor]]:
    other = dict(leaves(b))
    return [(leaf, other[name]) for name, leaf in leaves(a)]


def _rms(x: State) -> Tensor:
    """Over all entries, without gradient."""
    return torch.stack([leaf.detach().square().mean() for leaf, _ in _pairs(x, x)]).mean().sqrt()
