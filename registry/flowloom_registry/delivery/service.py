"""Draws on request: bounded, batched, one at a time on the device. It knows nothing of HTTP."""

from __future__ import annotations

import secrets
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import FlowloomError
from flowloom.renderers import Figure
from flowloom.solvers import FixedGrid, Solution, Solver
from flowloom.state import concat, map_state
from flowloom_registry.nearest import did_you_mean
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.starting import Start, start

__all__ = ["Asked", "Drawn", "Full", "Limits", "Refused", "Service"]

_ROWS = 2**20
"""Of which a request without conditions takes some, by its seed."""
_SEEDS = 2**31


@dataclass(frozen=True)
class Limits:
    """What a service takes on.

    Args:
        n: examples a request.
        steps: of the solver.
        queue: requests that wait; more are turned away.
        batch: examples that are drawn together.
        linger: seconds that the first request of a batch waits for others.
    """

    n: int = 64
    steps: int = 200
    queue: int = 32
    batch: int = 256
    linger: float = 0.005

    def __post_init__(self) -> None:
        for name in ("n", "steps", "queue", "batch"):
            if getattr(self, name) < 1:
                option = f"max-{name}" if name in ("n", "steps") else name
                raise FlowloomError(f"--{option} must be at least 1, got {getattr(self, name)}")


class Refused(FlowloomError):  # noqa: N818  (what happened to the request)
    """A request that its sender has to change."""


class Full(FlowloomError):  # noqa: N818  (as above)
    """Too much waits already.

    Args:
        seconds: after which it is worth asking again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"busy: too many requests are waiting; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Asked:
    """One request.

    Args:
        n: examples.
        seed: of them.
        cond: conditions by name, as `flowloom.Flow.sample` takes them.
        steps: of the solver; its own where None.
        show: whether figures are wanted.
    """

    n: int
    seed: int
    cond: Mapping[str, Any]
    steps: int | None = None
    show: bool = False

    @classmethod
    def of(cls, value: Any, limits: Limits) -> Asked:
        """From a JSON object.

        Raises:
            Refused: it is none, or has an unknown key or a value out of range; says what is accepted.
        """
        if not isinstance(value, dict):
            raise Refused('the body must be a JSON object, such as {"n": 4, "seed": 0}')
        known = ("n", "seed", "cond", "steps", "show")
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known) or f"there are: {', '.join(known)}"
                raise Refused(f"unknown key {key[:40]!r}; {hint}")
        n = _whole(value, "n", 1, 1, limits.n)
        seed = secrets.randbelow(_SEEDS) if value.get("seed") is None else _whole(value, "seed", 0, 0, 2**40)
        steps = None if value.get("steps") is None else _whole(value, "steps", 1, 1, limits.steps)
        cond, show = value.get("cond", {}), value.get("show", False)
        if not isinstance(cond, dict):
            raise Refused('cond must be an object of conditions by name, such as {"label": 3}')
        for name, given in cond.items():
            if _says_truth(given):
                raise Refused(f"condition '{name}' takes numbers or words, not true or false")
        if not isinstance(show, bool):
            raise Refused("show must be true or false")
        return cls(n, seed, cond, steps, show)


def _whole(value: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    found = value.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        shown = repr(found)
        raise Refused(f"{key} must be a whole number from {low} to {high}, got {shown[:40]}")
    return found


@dataclass(frozen=True)
class Drawn:
    """The answer.

    Args:
        asked: the request, with its seed.
        examples: data with their conditions.
        evaluations: of the network, an example.
        figures: what the domain's renderer makes of them, an example each where it can; where wanted.
    """

    asked: Asked
    examples: Examples
    evaluations: int
    figures: Sequence[Figure] = ()


@dataclass
class _Waiting:
    asked: Asked
    future: Future[Drawn] = field(default_factory=Future)


@dataclass(frozen=True)
class _Ready:
    """A request whose conditions and states to start from are made."""

    waiting: _Waiting
    cond: Mapping[str, Tensor]
    start: Start
    solver: Solver

    def fits(self, other: _Ready) -> bool:
        """Whether both can be drawn in one batch."""
        shapes = [{k: v.shape[1:] for k, v in one.start.cond.items()} for one in (self, other)]
        return self.waiting.asked.steps == other.waiting.asked.steps and shapes[0] == shapes[1]


class Service:
    """A run that draws on request, in a thread of its own.

    Requests of the same number of steps and the same conditions are drawn in one batch. Each starts from
    draws of its own seed, so its answer depends on its company in the last digits only; flows whose rows see
    each other, and solvers that draw on their way, take one request at a time.

    Args:
        assembly: of the run, on its device.
        limits: what it takes on.
    """

    def __init__(self, assembly: Assembly, limits: Limits) -> None:
        self.assembly, self.limits = assembly, limits
        flow = assembly.flow
        self._field = flow.field()
        self._alone = not self._field.batch_independent or self._field.stochastic or flow.solver.stochastic
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.drawn, self.refused, self.began = 0, 0, time.monotonic()
        self._pace = 0.0  # seconds a request, as it lately was
        self._thread = threading.Thread(target=self._work, name="flowloom-service", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def takes_steps(self) -> bool:
        """Whether requests may say a number of steps."""
        return isinstance(self.assembly.flow.solver, FixedGrid)

    def submit(self, asked: Asked) -> Future[Drawn]:
        """Put a request into the queue.

        Raises:
            Full: there is no place; says when there may be.
            Refused: it asks for steps of a solver that chooses its own.
        """
        if asked.steps is not None and not self.takes_steps:
            raise Refused(
                f"{type(self.assembly.flow.solver).__name__} chooses its own steps; leave steps out"
            )
        with self._changed:
            if len(self._queue) >= self.limits.queue or self._closing:
                self.refused += 1
                raise Full(max(1, round(self._pace * len(self._queue))))
            one = _Waiting(asked)
            self._queue.append(one)
            self._changed.notify()
        return one.future

    def close(self) -> None:
        """Let what waits go, and stop."""
        with self._changed:
            self._closing = True
            for one in self._queue:
                one.future.cancel()
            self._queue.clear()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
            if self.limits.linger and not self._alone:
                time.sleep(self.limits.linger)
            with self._changed:
                taken = self._take()
            began = time.monotonic()
            ready = [one for one in map(self._prepared, taken) if one is not None]
            while ready:
                together = [one for one in ready if one.fits(ready[0])]
                ready = [one for one in ready if not one.fits(together[0])]
                self._answer(together)
            if taken:
                pace = (time.monotonic() - began) / len(taken)
                self._pace = pace if not self._pace else 0.8 * self._pace + 0.2 * pace

    def _take(self) -> list[_Waiting]:
        """As many requests as one batch holds, in their order."""
        taken: list[_Waiting] = []
        rows = 0
        while self._queue and (not taken or (rows + self._queue[0].asked.n <= self.limits.batch)):
            one = self._queue.popleft()
            if not one.future.set_running_or_notify_cancel():
                continue  # its sender has gone
            taken.append(one)
            rows += one.asked.n
            if self._alone:
                break
        return taken

    def _prepared(self, one: _Waiting) -> _Ready | None:
        asked, assembly = one.asked, self.assembly
        try:
            given = assembly.flow.conditions(asked.n, asked.cond)
            rows = torch.randint(_ROWS, (asked.n,), generator=torch.Generator().manual_seed(asked.seed))
            cond = assembly.conditions_left(given, _ROWS, rows, asked.seed)
            own = assembly.flow.solver
            solver = own.with_steps(asked.steps) if asked.steps and isinstance(own, FixedGrid) else own
            return _Ready(one, cond, start(assembly.flow, asked.n, seed=asked.seed, cond=cond), solver)
        except FlowloomError as error:
            _fail(one, Refused(" ".join(str(error).split())))
        except Exception as error:  # a request must not end the service
            traceback.print_exc(file=sys.stderr)
            _fail(one, error)
        return None

    def _answer(self, together: list[_Ready]) -> None:
        try:
            solution = self._solved(together)
            sizes = [one.waiting.asked.n for one in together]
            first = 0
            for one, size in zip(together, sizes, strict=True):
                rows = slice(first, first + size)
                first += size
                part = Solution(
                    map_state(lambda leaf, rows=rows: leaf[rows], solution.x),
                    solution.nfe,
                    cond={name: value[rows] for name, value in solution.cond.items()},
                )
                self._told(one, part)
        except Exception as error:
            if len(together) > 1:  # whoever is at fault is not to spoil it for the others
                for one in together:
                    self._answer([one])
                return
            if not isinstance(error, FlowloomError):
                traceback.print_exc(file=sys.stderr)
            _fail(together[0].waiting, error)

    def _solved(self, together: Sequence[_Ready]) -> Solution:
        flow, first = self.assembly.flow, together[0]
        if self._alone:
            asked = first.waiting.asked
            return flow.solve(asked.n, solver=first.solver, seed=asked.seed, cond=first.cond)
        cond = {name: torch.cat([one.start.cond[name] for one in together]) for name in first.start.cond}
        x0 = concat([one.start.x0 for one in together])
        with torch.no_grad(), flow.evaluating():
            return first.solver.solve(self._field, x0, cond=cond, layout=flow.layout(cond))

    def _told(self, one: _Ready, part: Solution) -> None:
        assembly, asked = self.assembly, one.waiting.asked
        examples = assembly.drawn(part, one.cond)
        figures: Sequence[Figure] = ()
        if asked.show and assembly.renderer is not None:
            shown = examples.laid_out(assembly.spec)
            figures = assembly.renderer.files(shown) or assembly.renderer.samples(shown, shown)
        self.drawn += asked.n
        with suppress(InvalidStateError):  # nobody waits for it any more
            one.waiting.future.set_result(Drawn(asked, examples, part.nfe, figures))


def _fail(one: _Waiting, error: BaseException) -> None:
    with suppress(InvalidStateError, CancelledError):
        one.future.set_exception(error)


def _says_truth(value: Any) -> bool:
    """Whether anything in nested lists is true or false."""
    return any(map(_says_truth, value)) if isinstance(value, list) else isinstance(value, bool)
