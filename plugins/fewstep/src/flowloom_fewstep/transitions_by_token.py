"""States drawn one after the other, each token by token, by a small solve of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.wrapped import Unasked, innermost, rewrapped
from flowloom.layout import Layout
from flowloom.paths import AffinePath, Path
from flowloom.solvers import Euler, Solution, Solver
from flowloom.solvers.inner import Branch, branch_of, inner_clashes, require_velocity_steps
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.state import Cond, State
from flowloom_fewstep.autoregressive_transitions import KIND, TransitionLaw
from flowloom_fewstep.steered_trunk import Past

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TransitionsByToken"]


class TransitionsByToken(Solver):
    r"""T transitions of a state; in each the trunk reads a token and the inner solver draws the next.

    Algorithms 6 and 8 of Shaul et al. (2506.23589). Keys and values of what was read are kept, so that the
    trunk is asked once a token. Guidance serves as with any solver: its branches read by themselves, and
    the velocities of their heads are mixed at every inner step, as in the paper (A.1).

    ``nfe`` counts passes of the head over a whole state, guidance included: T times the inner evaluations.
    The trunk passes over a state as often as one would without tokens, T times, but token after token.

    Args:
        steps: of Euler's method, for every token.
        inner: another solver of velocities in its place.
    """

    consumes = KIND
    stochastic = True

    def __init__(self, steps: int = 16, inner: Solver | None = None) -> None:
        self.inner = require_velocity_steps(inner or Euler(steps), "tokens")

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Inner solvers and guidance that ask the velocities of tokens for what they do not tell."""
        yield from super().clashes(parts)
        path = getattr(parts.get("objective"), "path", None)
        law = Unasked(KIND, path, parts.get("source")) if isinstance(path, Path) else None
        token, why = Unasked("velocity", AffinePath(), None), "tokens are drawn by velocities alone"
        yield from inner_clashes(self.inner, token, why, parts.get("guidance"), law)

    def with_steps(self, steps: int) -> Self:
        """The same with ``steps`` steps for every token."""
        other = copy.copy(self)
        other.inner = self.inner.with_steps(steps)
        return other

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Carry noise to data, state after state; see `Solver.solve`.

        Raises:
            IncompatibleError: the field is no such law, entries are given or padded, or the span is another.
        """
        law = innermost(field)
        if not isinstance(law, TransitionLaw):
            raise IncompatibleError(
                f"transitions-by-token draws from a law of transitions, and this is a {field.kind}"
            )
        if span not in (None, law.span) or (
            layout is not None and (layout.given is not None or layout.real is not None)
        ):
            raise IncompatibleError(
                "transitions-by-token draws whole states of one size, from source to data alone"
            )
        call, patches, levels = Call(field, cond, generator, layout), law.model.patches, law.levels
        walk = Walk(call, x0, levels[0], keep=keep, on_step=on_step, steps=len(levels) - 1)
        context = None
        for level, following in pairwise(levels):
            assert isinstance(walk.x, Tensor)
            state = patches.cut(walk.x)
            if context is None or not law.history:
                context = _Context(law, state, level)
            velocity, asked = rewrapped(field, _Drawing(law, context)), 0
            for _ in range(patches.count):
                start = Draw.like(state, generator).normal(state[:, 0].shape)
                drawn = self.inner.solve(velocity, start, cond=call.cond, generator=generator)
                assert isinstance(drawn.x, Tensor)
                context.sequence = torch.cat([context.sequence, drawn.x[:, None]], 1)
                asked = drawn.nfe
            call.nfe += asked
            if walk.arrive(patches.join(context.sequence[:, -patches.count :]), following):
                assert isinstance(walk.x, Tensor)
                context.replace(patches.cut(walk.x))
        return walk.solution()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


class _Context:
    """What the trunk has read in one solve, for every way in which guidance asks it.

    Args:
        law: whose trunk.
        state: tokens that the sequence begins with, ``(batch, tokens, entries)``.
        level: their time.
    """

    def __init__(self, law: TransitionLaw, state: Tensor, level: float) -> None:
        self.law, self.sequence = law, state
        self.level = 0.0 if law.history else level
        self.prefix = 0 if law.history else state.shape[1]
        self._read: dict[Branch, tuple[Past, Tensor]] = {}

    def replace(self, state: Tensor) -> None:
        """Put ``(batch, tokens, entries)`` in place of the last state, and forget what was read."""
        self.sequence = torch.cat([self.sequence[:, : -state.shape[1]], state], 1)
        self._read.clear()

    def features(self, rows: int, cond: Cond) -> Tensor:
        """What the head is told of the next token, ``(rows, 1, width)``: the batch, once a branch."""
        branch, often = branch_of(rows, cond, len(self.sequence))
        past, latest = self._read.get(branch, (Past(), None))
        if latest is None or past.tokens < self.sequence.shape[1]:
            new = self.sequence[:, past.tokens :].repeat(often, 1, 1)
            t = new.new_full((rows,), self.level)
            latest = self.law.model.features(new, t, cond, prefix=self.prefix, past=past)[:, -1:]
            self._read[branch] = past, latest
        return latest


class _Drawing(Field):
    """The inner velocity of one token."""

    kind = "velocity"

    def __init__(self, law: TransitionLaw, context: _Context) -> None:
        self.path, self.informs, self.context = AffinePath(), law.informs, context

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Of tokens ``(rows, entries)``."""
        assert isinstance(x, Tensor)
        features = self.context.features(len(x), cond)
        return self.context.law.model.head(x[:, None], t, features)[:, 0]
