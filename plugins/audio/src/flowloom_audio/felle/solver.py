"""Frames drawn one after the other, each by a small solve of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.wrapped import Unasked, innermost, rewrapped
from flowloom.layout import Layout
from flowloom.paths import Path
from flowloom.solvers import Euler, Solution, Solver
from flowloom.solvers.inner import Branch, branch_of, inner_clashes, require_velocity_steps
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.sources import Source
from flowloom.state import Cond, State
from flowloom_audio.felle.field import KIND, NextFrame
from flowloom_audio.felle.model import FrameLanguageModel, Reading

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FrameByFrame"]


class FrameByFrame(Solver):
    r"""The language model reads a frame, the inner solver draws the next, level by level (2502.11128).

    Keys and values of what was read are kept, so that the language model is asked once a frame, and never
    within a frame's own solve. Guidance serves as with any solver: its branches read by themselves
    (language model and heads alike), and their velocities are mixed at every inner step. The state walks
    from noise to data frame by frame: ``on_step`` is handed every frame as soon as there is one.

    Where the data have a condition of what is real and it is not given, a row ends with the frame that is
    called the last, and `Solution.cond` says which are real.

    ``nfe`` counts what the heads and the language model are asked for one example.

    Args:
        steps: of Euler's method, for every level of a frame; 3 in the paper.
        inner: another solver of velocities in its place.
        threshold: probability from which a frame is the last; None draws with that probability instead.
    """

    consumes = KIND
    streams = True
    """Whether what ``on_step`` is handed can be heard before the solve is done."""

    def __init__(self, steps: int = 3, inner: Solver | None = None, threshold: float | None = 0.5) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold is a probability in (0, 1], got {threshold}")
        self.inner = require_velocity_steps(inner or Euler(steps), "frames")
        self.threshold = threshold

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Inner solvers and guidance that ask the velocities of frames for what they do not tell."""
        yield from super().clashes(parts)
        path, source = getattr(parts.get("objective"), "path", None), parts.get("source")
        if not isinstance(path, Path) or not isinstance(source, Source):
            return
        prior = getattr(parts["objective"], "prior", "previous")
        field = Unasked("velocity", path, source if prior == "gaussian" else None)
        law, why = Unasked(KIND, path, source), "frames begin about the ones before them (prior)"
        yield from inner_clashes(self.inner, field, why, parts.get("guidance"), law)

    def with_steps(self, steps: int) -> Self:
        """The same with ``steps`` steps for every level of a frame."""
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
        """Make all frames; see `Solver.solve`.

        Raises:
            IncompatibleError: the field is no law of frames, entries are given, or the span is another.
        """
        law = _law_in(field)
        if law is None:
            raise IncompatibleError(f"frame-by-frame draws next frames, and this field is a {field.kind}")
        if span not in (None, (0.0, 1.0)) or (layout is not None and layout.given is not None):
            raise IncompatibleError("frame-by-frame makes whole frames from the first on, from 0 to 1 alone")
        assert isinstance(x0, Tensor)
        call = Call(field, cond, generator, layout)
        walk = Walk(call, x0, 0.0, keep=keep, on_step=on_step)
        memory = _Memory(law.model, x0)
        real = None if layout is None else layout.real
        going = x0.new_ones(len(x0), dtype=torch.bool)
        marks = x0.new_zeros(x0.shape[:2], dtype=torch.bool)
        count = x0.shape[1]
        if real is not None:
            count = int(real.any(0).nonzero().max()) + 1 if bool(real.any()) else 1
        for i in range(count):
            frame = self._frame(field, law, memory, x0, i, call)
            marks[:, i] = there = going if real is None else real[:, i]
            frame = torch.where(there[:, None], frame, torch.zeros_like(frame))
            if real is None and law.mark is not None:
                going = going & ~self._ends(memory, generator)
            done = i == count - 1 or not bool(going.any())
            x = memory.frames.clone()
            x[:, i] = frame
            if done:
                x[:, i + 1 :] = 0
            walk.arrive(x, 1.0 if done else (i + 1) / count)
            assert isinstance(walk.x, Tensor)
            memory.frames = walk.x
            if done:
                break
        call.nfe += memory.read
        solution = walk.solution()
        if law.mark is not None and real is None:
            return replace(solution, cond={**solution.cond, law.mark: marks})
        return solution

    def _frame(self, field: Field, law: NextFrame, memory: _Memory, x0: Tensor, i: int, call: Call) -> Tensor:
        """Frame ``i``, ``(batch, bands)``, given those in memory."""
        frame = torch.zeros_like(x0[:, i])
        start = law.start(memory.frames[:, i - 1] if i else frame, x0[:, i])
        for number, level in enumerate(law.model.levels):
            bands = level.bands
            velocity = rewrapped(field, _Drawing(law, memory, i, number, frame))
            drawn = self.inner.solve(velocity, start[:, bands], cond=call.cond, generator=call.generator)
            call.nfe += drawn.nfe
            assert isinstance(drawn.x, Tensor)
            frame = frame.clone()
            frame[:, bands] = drawn.x
        return frame

    def _ends(self, memory: _Memory, generator: torch.Generator | None) -> Tensor:
        """Rows that end with the frame that was just drawn, ``(batch,)``."""
        chance = memory.model.last(memory.latest[: len(memory.frames)])[:, 0].sigmoid()
        if self.threshold is not None:
            return chance >= self.threshold
        where = generator.device if generator is not None else chance.device
        return torch.rand(len(chance), generator=generator, device=where).to(chance.device) < chance

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


class _Memory:
    """What a language model has read in one solve, for every way in which guidance asks it.

    Args:
        model: the language model.
        frames: made so far, ``(batch, frames, bands)``; later ones are not looked at.
    """

    def __init__(self, model: FrameLanguageModel, frames: Tensor) -> None:
        self.model, self.frames = model, frames
        self.read = 0
        self.latest = frames.new_zeros(len(frames), model.width)
        self._readings: dict[Branch, tuple[Reading, Tensor]] = {}

    def context(self, i: int, rows: int, cond: Cond) -> Tensor:
        """The context of frame ``i``, ``(rows, width)``: the batch, as often as guidance has branches."""
        branch, often = branch_of(rows, cond, len(self.frames))
        reading, latest = self._readings.get(branch, (None, self.latest))
        if reading is None or reading.frames < i:
            reading = reading or self.model.begin()
            new = self.frames[:, reading.frames : i].repeat(often, 1, 1)
            latest = self.model.read(new, cond, reading)[:, -1]
            self.read += often
            self._readings[branch] = reading, latest
        self.latest = latest
        return latest


class _Drawing(Field):
    """The velocity of one level of one frame."""

    kind = "velocity"

    def __init__(self, law: NextFrame, memory: _Memory, i: int, level: int, frame: Tensor) -> None:
        self.path, self.informs = law.path, law.informs
        # Noise about the frame before has another law than the source, whose scores would be wrong.
        self.source = law.source if law.prior == "gaussian" else None
        self.memory, self.i, self.level, self.frame = memory, i, level, frame

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Of bands ``(rows, bands of the level)``."""
        assert isinstance(x, Tensor)
        z = self.memory.context(self.i, len(x), cond)
        frame = self.frame.repeat(len(x) // max(1, len(self.frame)), 1)
        return self.memory.model.velocity(self.level, x, t, z, frame)


def _law_in(field: Field) -> NextFrame | None:
    """The law in a field, guidance around it or not."""
    law = innermost(field)
    return law if isinstance(law, NextFrame) else None
