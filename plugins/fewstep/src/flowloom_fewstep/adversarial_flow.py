"""Adversarial flow models: a generator of one jump or several, pressed towards the cheapest transport."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.couplings import Independent
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import SPAN, Field
from flowloom.layout import mean_of_entries
from flowloom.models import Critic
from flowloom.objectives import Batch, Loss, Objective, Step, Turn
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Condition
from flowloom_fewstep.another_row import another_row
from flowloom_fewstep.gradient_scale import GradientScale
from flowloom_fewstep.jumps import JumpMap
from flowloom_fewstep.relativistic import centring, relativistic, steepness
from flowloom_fewstep.unit_time import require_unit_time

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["AdversarialFlow"]

_SHORTEST = 1e-3  # of a jump, in weights that divide by it


@dataclass(frozen=True)
class _Jump:
    """One batch of jumps: where from, where to, and a real state there."""

    start: Tensor
    s: Tensor
    t: Tensor
    real: Tensor

    @property
    def length(self) -> Tensor:
        return (self.t - self.s).clamp_min(_SHORTEST)


class AdversarialFlow(Objective):
    r"""A critic tells made states from real ones; the generator convinces it at the least cost of transport.

    Adversarial flow models (Lin et al. 2511.22475). With y the landing of a jump from :math:`x_s` to time t,
    :math:`x_t` a real state there, D the critic, w = t - s and n normal noise,

    .. math::
        L_D &= f(D(x_t) - D(y)) + \frac{\gamma w}{\epsilon^2} \big[(D(x_t) - D(x_t + \epsilon n))^2
               + (D(y) - D(y + \epsilon n))^2\big] + c\,(D(x_t) + D(y))^2 \\
        L_G &= f(D(y) - D(x_t)) + \frac{\lambda}{w} \tfrac1d \|y - x_s\|^2, \qquad f(a) = \log(1 + e^{-a})

    where the adversarial part of the generator's gradient is normalised at y (`GradientScale`) and
    :math:`\lambda` falls along half a cosine. D sees (y, t) and never :math:`x_s`: the law alone is its
    business, and the transport is chosen by the second term. Without it (``transport: 0``) this is a
    relativistic GAN, whose transport is whatever training made of it.

    :math:`x_t` is made of the same row of data, whose conditions both critic and generator are told, and of
    noise that is another row's: as in the authors' trainer, the two states share no noise.

    Args:
        critic: D; a part of this objective, and of the flow that is saved.
        path: where the states come from; an affine path.
        steps: jumps of a sample; None for any number, with a network that is told how far it jumps.
        predict: what the network answers with, the landing (``data``) or a velocity; by default the landing
            for one step and the velocity for several, as in the paper.
        transport: lambda at the beginning, 0 for none.
        transport_end: lambda at the end.
        transport_decay: share of the training in which it falls.
        penalty: gamma.
        penalty_share: share of the rows on which the penalties are taken.
        penalty_eps: epsilon.
        centring: c.
        critic_moves: moves of the critic for one of the generator.
        normalise: whether gradients are normalised at y.

    Raises:
        IncompatibleError: the path is not affine in flat space, or runs in another time than [0, 1].
        ValueError: an argument is out of range.
    """

    also = ("velocity",)
    tells = (SPAN,)

    def __init__(
        self,
        critic: Critic,
        path: Path | None = None,
        steps: int | None = 1,
        predict: Literal["data", "velocity"] | None = None,
        transport: float = 0.2,
        transport_end: float = 0.005,
        transport_decay: float = 1.0,
        penalty: float = 0.25,
        penalty_share: float = 0.25,
        penalty_eps: float = 0.01,
        centring: float = 0.01,
        critic_moves: int = 1,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.critic, self.path = critic, path or AffinePath()
        if not (self.path.affine and self.path.geometry.straight):
            raise IncompatibleError(
                "adversarial-flow adds noise to states and compares them by |y - x|^2, and "
                f"{self.path.geometry} is curved, discrete or a product; use path: affine on one tensor"
            )
        require_unit_time("adversarial-flow", self.path)
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, or null for any, got {steps}")
        weights = transport, transport_end, penalty, centring
        if not all(0 <= weight < math.inf for weight in weights) or not 0 < penalty_eps < math.inf:
            raise ValueError(
                "transport, penalty and centring are at least 0, penalty_eps is positive, all finite; "
                f"got {', '.join(map(str, weights))}, {penalty_eps}"
            )
        if not 0 < penalty_share <= 1 or not 0 < transport_decay <= 1:
            raise ValueError("penalty_share and transport_decay are shares in (0, 1]")
        if critic_moves < 1:
            raise ValueError(f"critic_moves must be at least 1, got {critic_moves}")
        self.steps = steps
        self.predict: Literal["data", "velocity"] = predict or ("data" if steps == 1 else "velocity")
        self.transport, self.transport_end, self.transport_decay = transport, transport_end, transport_decay
        self.penalty, self.penalty_share, self.penalty_eps = penalty, penalty_share, penalty_eps
        self.centring, self.critic_moves = centring, critic_moves
        self.scale = GradientScale() if normalise else None

    @property
    def kind(self) -> str:
        """A flow map."""
        return "flow-map"

    def conditions(self) -> Mapping[str, Condition]:
        """How far a jump goes, where any may be asked for."""
        return {SPAN: Condition(role="setting")} if self.steps is None else {}

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The flow map of the generator."""
        return JumpMap(model, self.path, self.predict, self.steps, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Noise that belongs to its row, where real states between the ends are made of another row's."""
        coupling, source = parts.get("coupling"), parts.get("source")
        if self.steps == 1:
            return
        why = "adversarial-flow of several jumps makes real states of another row's noise"
        if coupling is not None and not isinstance(coupling, Independent):
            yield Clash("objective", "coupling", f"{why}; use coupling: independent, or objective.steps: 1")
        if isinstance(source, Source) and source.reads:
            name = type(source).__name__
            yield Clash(
                "objective", "source", f"{why}, and {name} starts at its own row's; use objective.steps: 1"
            )

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """The critic's, then the generator's, with an optimiser each."""
        own = {id(p) for p in self.critic.parameters()}
        everything = flow.trainable()
        judging = {name: p for name, p in everything.items() if id(p) in own}
        making = {name: p for name, p in everything.items() if id(p) not in own}

        def judge(batch: Batch, step: Step) -> Loss:
            return self.critic_loss(flow.model, batch, step)

        def make(batch: Batch, step: Step) -> Loss:
            return self.loss(flow.model, batch, step)

        return (
            Turn("critic", judge, judging, repeat=self.critic_moves),
            Turn("generator", make, making),
        )

    def transport_weight(self, progress: float) -> float:
        """Lambda when ``progress`` of the training is done: half a cosine from the first to the last."""
        if self.transport == 0:
            return 0.0
        done = min(1.0, progress / self.transport_decay)
        return self.transport_end + (self.transport - self.transport_end) * 0.5 * (
            1 + math.cos(math.pi * done)
        )

    def draw_times(self, n: int, draw: Draw) -> tuple[Tensor, Tensor]:
        """Times of start and landing, ``(n,)`` each: of the grid, or any two, the start uniform."""
        if self.steps is not None:
            s = draw.integers(self.steps, (n,)).to(draw.dtype or torch.float32) / self.steps
            return s, s + 1 / self.steps
        # The paper's: source u, target u u', of a time that has noise at 1.
        noise = draw.uniform((n,))
        return 1 - noise, 1 - noise * draw.uniform((n,))

    def critic_loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The critic's loss; the generator is only asked."""
        draw = Draw.like(batch.x1, step.generator)
        jump = self._jump(batch, draw)
        with torch.no_grad():
            made = self._land(model, jump, batch)
        n, k = len(made), max(1, round(self.penalty_share * len(made)))
        beside = [x[:k] + self.penalty_eps * draw.normal(x[:k].shape) for x in (jump.real, made)]
        states, t = torch.cat([jump.real, made, *beside]), torch.cat([jump.t, jump.t, jump.t[:k], jump.t[:k]])
        cond = {name: torch.cat([v, v, v[:k], v[:k]]) for name, v in batch.cond.items()}
        real, fake, near_real, near_fake = self.critic(states, t, **cond).split([n, n, k, k])
        weight = self.penalty * jump.length[:k]
        parts = {
            "adversarial": relativistic(real, fake).mean(),
            "r1": (weight * steepness(real[:k], near_real, self.penalty_eps)).mean(),
            "r2": (weight * steepness(fake[:k], near_fake, self.penalty_eps)).mean(),
            "centring": self.centring * centring(real, fake).mean(),
        }
        total = torch.stack(list(parts.values())).sum()
        return Loss(total, {name: value.detach() for name, value in parts.items()})

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The generator's loss; the critic is only asked."""
        jump = self._jump(batch, Draw.like(batch.x1, step.generator))
        made = self._land(model, jump, batch)
        seen = made if self.scale is None else self.scale(made)
        real, fake = (self.critic(x, jump.t, **batch.cond) for x in (jump.real, seen))
        adversarial = relativistic(fake, real.detach()).mean()
        free = batch.layout.free if batch.layout is not None else None
        cost = mean_of_entries((made - jump.start).square(), free)
        transport = self.transport_weight(step.progress) * (cost / jump.length).mean()
        parts = {"adversarial": adversarial, "transport": transport, "cost": cost.mean()}
        return Loss(adversarial + transport, {name: value.detach() for name, value in parts.items()})

    def _jump(self, batch: Batch, draw: Draw) -> _Jump:
        x0, x1, layout = batch.x0, batch.x1, batch.layout
        assert isinstance(x0, Tensor)
        assert isinstance(x1, Tensor)
        if layout is not None:
            x0, x1 = layout.fill(x0), layout.fill(x1)
        s, t = self.draw_times(len(x1), draw)
        # One jump ends at the data, where nothing is left of noise: a row may then be alone.
        alone = self.steps == 1 and len(x0) == 1
        other = x0 if alone else x0[another_row(len(x0), draw, "adversarial-flow of several jumps")]
        start, real = (self._at(noise, x1, time, batch, draw) for noise, time in ((x0, s), (other, t)))
        return _Jump(start, s, t, real)

    def _at(self, x0: Tensor, x1: Tensor, t: Tensor, batch: Batch, draw: Draw) -> Tensor:
        point, layout = self.path.sample(x0, x1, t, generator=draw.generator), batch.layout
        x = point.x_t if layout is None else layout.zero(point.held(layout).x_t)
        assert isinstance(x, Tensor)
        return x

    def _land(self, model: nn.Module, jump: _Jump, batch: Batch) -> Tensor:
        network = JumpMap(model, self.path, self.predict, self.steps)
        landing = network.landing(jump.start, jump.s, jump.t, batch.cond)
        assert isinstance(landing, Tensor)
        layout = batch.layout
        # Given entries stand, in made states as in real ones.
        return landing if layout is None else layout.zero(layout.holding(jump.real).hold(landing))
