"""What a trained flow generates, as a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.data.kept import read_examples, write_examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.seeds import derive
from flowloom.seeds import generator as generator_of
from flowloom.spec import Condition, Spec
from flowloom.state import State, leaves, with_batch

if TYPE_CHECKING:
    from flowloom.solvers import Solver
    from flowloom.trained import Trained

__all__ = ["Samples", "start_name"]


def start_name(part: str = "") -> str:
    """Name of the condition that holds where a sample, or a part of it, started: ``x0``, ``x0_pos``."""
    return f"x0_{part.replace('.', '_')}" if part else "x0"


class Samples(Dataset):
    r"""Draws of a trained flow: self-distillation, training on one's own samples, reflow, data-free methods.

    Rows are made in chunks; chunk k is a function of (seed, name of the run, k), made when it is first asked
    for and then kept in the run's folder. Conditions are those of random training rows of the run. Held-out
    splits are the run's own real data, so that what learns from samples is judged by what they should look
    like.

    With ``pairs``, each sample comes with the state that it started from, as condition ``x0`` of role
    ``start``: the deterministic coupling :math:`(x_0, \phi(x_0))` of reflow (Liu et al. 2209.03003), which
    ``source: {use: paired, holds: states, otherwise: gaussian}`` learns from.

    Args:
        run: that generates them.
        n: how many.
        pairs: whether to keep where each started.
        sampler: the solver that draws them; the run's own where left out.
        batch: samples drawn at a time, which are a chunk.
        seed: of the draws.

    Raises:
        IncompatibleError: the run generates nothing, or pairs are asked of a stochastic solver.
    """

    def __init__(
        self,
        run: Trained,
        n: int = 10_000,
        pairs: bool = False,
        sampler: Solver | None = None,
        batch: int = 500,
        seed: int = 0,
    ) -> None:
        if n < 1 or batch < 1:
            raise ValueError(f"n and batch must be at least 1, got n={n}, batch={batch}")
        flow = run.flow
        flow.objective.require_generates()
        solver = sampler or flow.solver
        if pairs and solver.stochastic:
            raise IncompatibleError(
                f"pairs are of an x0 and where it leads, and {type(solver).__name__} is stochastic; "
                "give a sampler of an ODE, such as {use: heun, steps: 20}"
            )
        self.run, self.n, self.pairs, self.sampler = run, n, pairs, sampler
        self.batch, self.seed = batch, seed
        self.folder: Path | None = None
        self._chunks: dict[int, Examples] = {}

    @property
    def spec(self) -> Spec:
        """That of the run's data, with the starts where there are pairs."""
        return self.run.data_spec.plus(self._starts()) if self.pairs else self.run.data_spec

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """The samples at ``rows``; those that are not there yet are made."""
        if not len(rows):
            return self._chunk(0).take(rows)
        order, parts = [], []
        for chunk in (rows // self.batch).unique().tolist():
            here = (rows // self.batch == chunk).nonzero()[:, 0]
            order.append(here)
            parts.append(self._chunk(chunk).take(rows[here] % self.batch))
        return Examples.concat(parts).take(torch.cat(order).argsort())

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or a held-out split of the run's own real data.

        Raises:
            DataError: the run has no such split, or its data are not at hand.
        """
        if name == "train":
            return self
        if self.run.data is None:
            raise DataError(f"the run whose samples these are had no data, and so no split '{name}'")
        return self.run.data.split(name)

    def keep_in(self, folder: Path) -> None:
        """Keep chunks in ``folder``, and take up those that lie there."""
        self.folder = folder
        for number, chunk in self._chunks.items():
            if not self._file(number).is_file():
                self._write(number, chunk)

    def make(self, told: Callable[[int], None] | None = None) -> None:
        """Make all chunks that are not there yet; ``told`` is given the number of samples made so far."""
        for number in range(-(-self.n // self.batch)):
            self._chunk(number)
            if told is not None:
                told(min(self.n, (number + 1) * self.batch))

    def _chunk(self, number: int) -> Examples:
        if number not in self._chunks:
            kept = self.folder is not None and self._file(number).is_file()
            chunk = self._read(number) if kept else self._made(number)
            if self.folder is not None and not kept:
                self._write(number, chunk)
            self._chunks[number] = chunk
        return self._chunks[number]

    @torch.no_grad()
    def _made(self, number: int) -> Examples:
        flow, count = self.run.flow, min(self.batch, self.n - number * self.batch)
        draws = generator_of(self.seed, self._stream(), number, flow.device)
        cond = self._conditions(count, number)
        seed = derive(self.seed, self._stream("/solve"), number)
        with flow.evaluating():
            if not self.pairs:
                solved = flow.solve(count, solver=self.sampler, seed=seed, cond=cond)
                return self._data(solved.x, cond)
            place = Draw(draws, device=flow.device, dtype=flow.dtype)
            there = flow.formed(Examples({}, cond)).to(flow.device).cond
            noise = flow.source.noise(with_batch(flow.spec.event_shape(), count), place, cond=there)
            x0 = flow.source.push(noise, there)
            solved = flow.solve(x0=x0, solver=self.sampler, seed=seed, cond=cond)
            starts = {start_name(part): leaf.cpu() for part, leaf in leaves(x0)}
            return self._data(solved.x, cond | starts)

    def _data(self, x: State, cond: dict[str, Tensor]) -> Examples:
        """States as data, on the CPU; the same layout is on both sides of a codec."""
        flow = self.run.flow
        states = Examples(x, {k: v.to(flow.device) for k, v in cond.items()})
        return replace(flow.decode(states).to("cpu"), cond=cond)

    def _conditions(self, count: int, number: int) -> dict[str, Tensor]:
        if not self.run.data_spec.conditions:
            return {}
        data = self.run.data
        if data is None:
            names = ", ".join(self.run.data_spec.conditions)
            raise DataError(f"samples are drawn under {names} of rows, and the run had no data")
        draws = generator_of(self.seed, self._stream("/rows"), number)
        return dict(data.take(torch.randint(len(data), (count,), generator=draws)).cond)

    def _stream(self, what: str = "") -> str:
        """Of random numbers: that of this run, so that generations of one recipe share no noise."""
        return f"samples{what}/{self.run.name}" if self.run.name else f"samples{what}"

    def _starts(self) -> dict[str, Condition]:
        return {
            start_name(part): Condition(shape=leaf.shape, role="start", of=part)
            for part, leaf in self.run.flow.spec.leaves()
        }

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"samples-{number:05d}.safetensors"

    def _write(self, number: int, chunk: Examples) -> None:
        write_examples(self._file(number), chunk)

    def _read(self, number: int) -> Examples:
        return read_examples(self._file(number))
