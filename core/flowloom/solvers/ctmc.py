"""Jump processes for discrete states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.paths import MixturePath, Path, ProductPath
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.categorical import draw, probability_of
from flowloom.solvers.walk import Call
from flowloom.state import State


class CTMCEuler(FixedGrid):
    r"""Euler steps of the continuous-time Markov chain of a mixture path (Gat et al. 2407.15595).

    With the rate :math:`\lambda = \dot\kappa_t/(1-\kappa_t)`, a token jumps within a step of length h with
    probability :math:`1 - e^{-h\lambda}`, and then to a draw of the posterior. Draws are made only where a
    jump happens, which is the same law at a fraction of the cost. A last step that ends at t=1 draws every
    token from the posterior. Under the mask source only tokens that still show the mask move.

    With ``stochasticity`` c, tokens also go back: the velocity is
    :math:`(1 + \beta_t) \hat u_t - \beta_t \check u_t` with :math:`\beta_t = c\, t^a (1-t)^b`, which keeps
    every marginal and lets early mistakes be redone (section 3.3 there). ``corrector_steps`` adds, after each
    step, steps at fixed time with :math:`\hat u_t - \check u_t`, at one evaluation each.

    A field of kind source-posterior runs the same chain from data to source, on a decreasing span.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        temperature: divides the logits; below 1 sharpens.
        top_p: draw only among the likeliest tokens that together hold this probability.
        stochasticity: c.
        powers: a and b.
        corrector_steps: number of corrector steps after every step but the last.
    """

    consumes = "posterior"
    order = 1
    stochastic = True

    def __init__(
        self,
        steps: int = 64,
        grid: Sequence[float] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stochasticity: float = 0.0,
        powers: tuple[float, float] = (1.0, 1.0),
        corrector_steps: int = 0,
    ) -> None:
        super().__init__(steps, grid)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
        if not (0 <= stochasticity < math.inf and corrector_steps >= 0 and all(p >= 0 for p in powers)):
            raise ValueError(
                "stochasticity, powers and corrector_steps must be finite and not negative, got "
                f"{stochasticity}, {powers} and {corrector_steps}"
            )
        self.temperature, self.top_p = temperature, top_p
        self.stochasticity, self.powers = stochasticity, (float(powers[0]), float(powers[1]))
        self.corrector_steps = corrector_steps

    @property
    def evaluations_per_step(self) -> int:
        """One, and one for every corrector step."""
        return 1 + self.corrector_steps

    def prepare(self, field: Field) -> Field:
        """The posterior field; checks its path."""
        for path in _leaf_paths(field.path):
            if not isinstance(path, MixturePath):
                raise IncompatibleError(
                    f"{type(self).__name__} needs path: mixture, whose jump rate it follows; "
                    f"got {type(path).__name__}"
                )
            if self.stochasticity or self.corrector_steps:
                path.backward_rate(0.5)
        return field if field.kind == "source-posterior" else super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step with one network evaluation, and one for every corrector step."""
        path, generator = call.field.path, call.generator
        if (call.field.kind == "source-posterior") != (t_next < t):
            way = "down (1 to 0)" if t_next > t else "up (0 to 1)"
            raise IncompatibleError(f"a {call.field.kind} field of jumps runs {way}; turn the span")
        x = self.advance(call(x, t), x, path, t, t_next, last, generator)
        for _ in range(0 if last or t_next < t else self.corrector_steps):
            if call.layout is not None:
                x = call.layout.hold(x)
            x = self.correct(call(x, t_next), x, path, t_next, t_next - t, generator)
        return x

    def jump_probability(self, path: MixturePath, t: float, t_next: float) -> float:
        """Probability that a waiting token jumps within the step: ``1 - exp(-h rate(t))``."""
        if t_next < t:
            return path.departure(t, t_next)
        rate = float(path.rate(torch.tensor(t, dtype=torch.float64)))
        # A schedule may begin infinitely steep, and still only so much arrives within the step.
        return self._over(rate, t_next - t) if math.isfinite(rate) else path.arrival(t, t_next)

    def advance(
        self,
        logits: State,
        x: State,
        path: Path | None,
        t: float,
        t_next: float,
        last: bool,
        generator: torch.Generator | None,
    ) -> State:
        """Jump given the posterior's logits."""
        if isinstance(x, dict):
            assert isinstance(logits, dict) and isinstance(path, ProductPath)
            return {
                k: self.advance(logits[k], v, path.parts[k], t, t_next, last, generator) for k, v in x.items()
            }
        assert isinstance(logits, Tensor) and isinstance(path, MixturePath)
        free = _waiting(x, path) if t_next > t else None
        if last and t_next in (0.0, 1.0):
            # Only at the ends has everything arrived; a span that stops earlier takes an ordinary step.
            return self._jump(x, logits, free, generator)
        forward, beta = self.jump_probability(path, t, t_next), 0.0
        noise = path.noise_share(t, t_next) if t_next > t else 0.0
        if self.stochasticity and t_next > t:
            a, b = self.powers
            beta = self.stochasticity * t**a * (1 - t) ** b
            # (1 + beta) times the rate: 1 - p is e^{-h rate}.
            forward = 1 - (1 - forward) ** (1 + beta)
        moved = self._jump(x, logits, self._chosen(x, forward, free, generator), generator, noise)
        if not beta:
            return moved
        back = self._backward(x, logits, path, t, beta * (t_next - t), generator)
        # Where both happen within one step, either may come last; the forward jump is kept.
        return torch.where(moved == x, back, moved)

    def correct(
        self,
        logits: State,
        x: State,
        path: Path | None,
        t: float,
        h: float,
        generator: torch.Generator | None,
    ) -> State:
        """A step of length ``h`` along the divergence-free velocity ``u^ - u_`` at fixed ``t``."""
        if isinstance(x, dict):
            assert isinstance(logits, dict) and isinstance(path, ProductPath)
            return {k: self.correct(logits[k], v, path.parts[k], t, h, generator) for k, v in x.items()}
        assert isinstance(logits, Tensor) and isinstance(path, MixturePath)
        rate = float(path.rate(torch.tensor(t, dtype=torch.float64)))
        free = _waiting(x, path)
        moved = self._jump(x, logits, self._chosen(x, self._over(rate, h), free, generator), generator)
        return torch.where(moved == x, self._backward(x, logits, path, t, h, generator), moved)

    def _backward(
        self,
        x: Tensor,
        logits: Tensor,
        path: MixturePath,
        t: float,
        h: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Send tokens back to the source over a time ``h`` at the path's backward rate."""
        rate = path.backward_rate(t)
        if path.absorbing:
            gone = self._chosen(x, self._over(rate, h), x != path.vocab, generator)
            return x.masked_fill(gone, path.vocab)
        # The rate carries the factor p(x), at most 1: choose by the bound, keep by the ratio.
        bound = self._over(rate, h)
        where = self._chosen(x, bound, None, generator).nonzero(as_tuple=True)
        if where[0].numel() == 0:
            return x
        p = probability_of(logits[where], x[where], self.temperature)
        keep = torch.rand(p.shape, generator=generator, device=p.device) * bound < -torch.expm1(-h * rate * p)
        fresh = torch.randint(path.vocab, p.shape, generator=generator, device=x.device)
        moved = x.clone()
        moved[where] = torch.where(keep, fresh, x[where])
        return moved

    def _jump(
        self,
        x: Tensor,
        logits: Tensor,
        where: Tensor | None,
        generator: torch.Generator | None,
        noise: float = 0.0,
    ) -> Tensor:
        """Replace the tokens at ``where`` (all, if None) by draws of the posterior, or uniform ones."""
        if where is None:
            return draw(logits, self.temperature, generator, self.top_p)
        chosen = where.nonzero(as_tuple=True)
        moved = x.clone()
        if chosen[0].numel():
            fresh = draw(logits[chosen], self.temperature, generator, self.top_p)
            if noise:
                uniform = torch.randint(logits.shape[-1], fresh.shape, generator=generator, device=x.device)
                lost = torch.rand(fresh.shape, generator=generator, device=x.device) < noise
                fresh = torch.where(lost, uniform, fresh)
            moved[chosen] = fresh
        return moved

    @staticmethod
    def _chosen(
        x: Tensor, probability: float, free: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Each token by itself with the given probability, among the free ones."""
        chosen = torch.rand(x.shape, generator=generator, device=x.device) < probability
        return chosen if free is None else chosen & free

    @staticmethod
    def _over(rate: float, h: float) -> float:
        """Probability of an event at ``rate`` within a time ``h``; 1 where the rate is infinite."""
        return -math.expm1(-h * rate) if h > 0 else 0.0


class TauLeaping(CTMCEuler):
    r"""Leaps with the jump probability integrated exactly over the step.

    While the posterior is held fixed over a step, a waiting token has jumped by its end with probability
    :math:`(\kappa_{t+h} - \kappa_t) / (1 - \kappa_t)`, whatever the schedule and however long the step; the
    first and last steps need no exception. Under the mask source this is the ancestral sampler of masked
    diffusion (2406.07524). Arguments as for `CTMCEuler`.
    """

    def jump_probability(self, path: MixturePath, t: float, t_next: float) -> float:
        """The integrated rate."""
        return path.arrival(t, t_next) if t_next > t else path.departure(t, t_next)


def _waiting(x: Tensor, path: MixturePath) -> Tensor | None:
    """Tokens that may still move forward, or None where all may."""
    return x == path.vocab if path.absorbing else None


def _leaf_paths(path: Path | None) -> list[Path | None]:
    if isinstance(path, ProductPath):
        return [leaf for part in path.parts.values() for leaf in _leaf_paths(part)]
    return [path]
