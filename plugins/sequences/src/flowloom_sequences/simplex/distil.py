"""One-step students of a simplex flow."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples, Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.solvers import Solver
from flowloom.spec import Condition, Spec
from flowloom.state import Cond, State, take
from flowloom_registry import load
from flowloom_registry.runs.load import Run
from flowloom_sequences.languages.base import SPLIT_SEEDS
from flowloom_sequences.simplex.codec import OneHot
from flowloom_sequences.simplex.solver import SimplexEuler


def distillation_pairs(
    flow: Flow, n: int, *, solver: Solver | None = None, seed: int = 0, batch: int = 1024, **cond: object
) -> Tensors:
    """Noise and what the teacher makes of it, as a data set for a one-step student (2402.05841, section 3.5).

    Train the student on it with ``source: paired``, ``times: at-source`` and the same posterior objective:
    it then classifies, in one call at t = 0, where each x0 ends. Nothing else is special about it, and
    ``solver: {use: simplex-euler, steps: 1}`` samples it.

    Args:
        flow: the teacher.
        n: number of pairs.
        solver: of the teacher, its own where left out.
        seed: of the noise.
        batch: rows at a time.
        cond: conditions of every pair, as for ``flow.sample``.

    Returns:
        States x1 ``(n, L, K)`` with the condition ``x0``, beside the teacher's conditions.
    """
    if flow.spec is None or flow.source is None:
        raise IncompatibleError("the teacher has no spec or source; fit or load it first")
    generator = torch.Generator().manual_seed(seed)
    conditions: dict[str, torch.Tensor] = flow.conditions(n, cond) if cond else {}
    x0 = flow.source.sample((n, *flow.spec.shape), Draw(generator), cond=conditions)
    chosen, field, parts = solver or flow.solver, flow.field(), []
    with torch.no_grad(), flow.evaluating():
        for rows in torch.arange(n).split(batch):
            part: Cond = {k: v[rows] for k, v in conditions.items()}
            start, layout = take(x0, rows), flow.layout(part)
            parts.append(chosen.solve(field, start, cond=part, generator=generator, layout=layout).x)
    spec = flow.spec.plus({"x0": Condition(shape=flow.spec.shape, role="start")})
    return Tensors(_joined(parts), {**conditions, "x0": x0}, spec=spec)


def _joined(parts: list[State]) -> torch.Tensor:
    return torch.cat([part for part in parts if isinstance(part, torch.Tensor)])


class Distilled(Dataset):
    """What a trained run makes of noise, as data for its one-step student.

    Tokens x1 with the noise ``x0`` from which the teacher came to them; they are drawn when first needed,
    the same ones for the same seed. Splits are draws of their own: what the student is compared with is its
    teacher. See `distillation_pairs`.

    Args:
        folder: run folder of the teacher.
        n: pairs in the training split; the others have a tenth.
        steps: of the teacher.
        finish: how the teacher ends; the paper's argmax makes it a function of x0, which can be learned.
        seed: of the noise.
    """

    def __init__(
        self,
        folder: Path,
        n: int = 40_000,
        steps: int = 60,
        finish: Literal["argmax", "draw"] = "argmax",
        seed: int = 0,
    ) -> None:
        if n < 10:
            raise DataError(f"n must be at least 10, got {n}")
        self.folder, self.n, self.seed = folder, n, seed
        self.solver = SimplexEuler(steps, finish=finish)
        self._teacher: Run | None = None
        self._pairs: Examples | None = None

    @property
    def teacher(self) -> Run:
        """The run.

        Raises:
            DataError: there is no such folder.
            RunError: the folder is no finished run.
            IncompatibleError: its states are not rows of probabilities.
        """
        if self._teacher is None:
            if not Path(self.folder).is_dir():
                raise DataError(
                    f"there is no run {self.folder}; train the teacher first, and name its folder"
                )
            teacher = load(self.folder, "cpu")
            if not isinstance(teacher.flow.codec, OneHot):
                raise IncompatibleError(f"{self.folder} is no flow on the simplex: it has no codec one-hot")
            self._teacher = teacher
        return self._teacher

    @property
    def spec(self) -> Spec:
        """The teacher's data, with ``x0`` as condition."""
        spec = self.teacher.spec
        codec = self.teacher.flow.codec
        assert codec is not None
        return spec.plus({"x0": Condition(shape=codec.spec.shape, role="start")})

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """Tokens ``(n, L)`` with ``x0`` ``(n, L, K)``, and the teacher's conditions."""
        if self._pairs is None:
            flow, assembly = self.teacher.flow, self.teacher.assembly
            data = assembly.require_data("a teacher's conditions come from its data")
            # The first of rows sorted by class would all be of one; more pairs than rows go round.
            cond: dict[str, Any] = dict(data.take(data.exactly(self.n)).cond)
            pairs = distillation_pairs(flow, self.n, solver=self.solver, seed=self.seed, **cond).examples
            assert flow.codec is not None
            self._pairs = flow.codec.decode(pairs)
        return self._pairs.take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), ``val``, ``test`` or ``judge``: draws of their own."""
        if name not in SPLIT_SEEDS:
            raise DataError(f"distilled has no split '{name}'; it has: {', '.join(SPLIT_SEEDS)}")
        if name == "train":
            return self
        other = copy.copy(self)
        other.n, other.seed, other._pairs = max(1, self.n // 10), self.seed + SPLIT_SEEDS[name], None
        return other

    def __getattr__(self, name: str) -> Any:
        if name in ("language", "vocabulary"):
            return getattr(self.teacher.assembly.data, name)
        raise AttributeError(name)
