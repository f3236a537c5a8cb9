"""PepFlow's steps towards predicted peptides, with any parts held at their data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.layout import Layout
from flowloom.paths.conversions import kind_name
from flowloom.solvers import FixedGrid
from flowloom.solvers.walk import Call, Hook, Solution, Walk
from flowloom.state import Cond, State, first_leaf
from flowloom_molecules.peptides.chart import LogitPath, corners
from flowloom_molecules.peptides.objective import KIND, drawn_types, standing_types
from flowloom_molecules.peptides.residues import has_torsion

__all__ = ["PeptideEuler"]


class PeptideEuler(FixedGrid):
    r"""Euler steps of all parts towards one prediction (the authors' code of 2406.00735).

    .. math:: x \leftarrow x + h\,(\hat x_1 - x_0), \quad R \leftarrow \gamma_{R, \hat R_1}(\lambda h), \quad
        \chi \leftarrow \gamma_{\chi, \hat\chi_1}(h), \quad l \leftarrow l + h\,(k (2 e_{\hat s} - 1) - l_0)

    with :math:`\gamma_{a, b}(u)` the point at share u of the geodesic from a to b, :math:`\hat s` drawn from
    the predicted types, and :math:`\lambda = 10`, the exponential rate of FrameFlow (2310.05297). Torsions
    that a type drawn from l lacks are 0 after every step. None of this arrives by itself: what is returned is
    the prediction at t = 1. Given entries stand at their data all along, which is partial sampling: a fixed
    backbone, given types.

    Args:
        steps: of the walk; one prediction more ends it.
        grid: times to walk instead.
        rate: lambda.
        start: time of the first prediction.
    """

    def __init__(
        self,
        steps: int = 100,
        grid: Sequence[float] | None = None,
        rate: float = 10.0,
        start: float = 0.01,
    ) -> None:
        super().__init__(steps, grid)
        if not 0 < rate < math.inf or not 0 <= start < 1:
            raise ValueError(f"rate is positive and finite, and start in [0, 1), got {rate} and {start}")
        self.rate, self.start = rate, start
        self.stochastic = True  # type: ignore[misc]

    def wanted(self) -> Kind:
        """Data, and a posterior of types."""
        return KIND

    def prepare(self, field: Field) -> Field:
        """The field of pepflow.

        Raises:
            IncompatibleError: it is another one.
        """
        types = None if field.path is None else field.path.parts.get("types")
        if field.kind != KIND or not isinstance(types, LogitPath):
            raise IncompatibleError(
                f"peptide-euler steps towards predicted peptides, and this is a {kind_name(field.kind)} "
                "field; use objective: pepflow"
            )
        return field

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """Steps need the place where the walk began: see `solve`."""
        raise IncompatibleError("peptide-euler makes whole walks, and is no part of another solver")

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
        """Walk from noise to peptides; see `flowloom.solvers.Solver.solve`."""
        generator = generator or torch.Generator(first_leaf(x0).device).manual_seed(0)
        call = Call(self.prepare(field), cond, generator, layout)
        low, high = span or field.span
        times = self.times((max(low, self.start), high))
        walk = Walk(call, x0, times[0], keep=keep, on_step=on_step, steps=len(times))
        begin: Any = walk.x
        for t, t_next in pairwise(times):
            ends = self._ends(call, walk.x, t)
            walk.arrive(self._towards(call, walk.x, ends, begin, t_next - t), t_next)
        walk.arrive(self._ends(call, walk.x, times[-1]), times[-1])
        return walk.solution()

    def _ends(self, call: Call, x: State, t: float) -> Any:
        """The predicted peptide as a state: types drawn, absent torsions 0, given entries at their data."""
        answer: Any = call(x, t)
        types = drawn_types(answer["types"], call.generator)
        ends = {**answer, "types": corners(types, _scale(call.field)).to(answer["types"])}
        if call.layout is not None:
            # Frames in padding stay frames. A given type has its own torsions, whatever is predicted.
            ends = call.layout.stand(ends, x)
            types = ends["types"].argmax(-1)
        ends["angles"] = torch.where(has_torsion(types), ends["angles"], 0.0)
        return ends if call.layout is None else call.layout.hold(ends)

    def _towards(self, call: Call, x: Any, ends: Any, begin: Any, dt: float) -> Any:
        space, n = call.field.geometry, len(x["pos"])

        def along(name: str, share: float) -> Any:
            where = x["pos"].new_full((n,), min(1.0, share))
            return space.part(name).geodesic(x[name], ends[name], where)[0]

        logits = x["types"] + dt * (ends["types"] - begin["types"])
        types = standing_types(logits, _scale(call.field), call.generator)
        moved = {
            "pos": x["pos"] + dt * (ends["pos"] - begin["pos"]),
            "rot": along("rot", self.rate * dt),
            "angles": torch.where(has_torsion(types), along("angles", dt), 0.0),
            "types": logits,
        }
        return {name: moved[name] for name in x}


def _scale(field: Field) -> float:
    types: Any = field.path.parts["types"] if field.path is not None else None
    return float(types.scale)
