"""Couplings: which x0 goes with which x1 inside a batch.

A coupling rearranges x0; x1 and its conditions stay where they are, so a label can never come loose
from its example. Pooladian et al., "Multisample Flow Matching" (2304.14772); Tong et al. (2302.00482).
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.geometry import Euclidean, Geometry, Product
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import Cond, State, batch_size, leaves, map_state, take

__all__ = ["Coupling", "Independent", "OptimalTransport", "Sinkhorn", "StableMatching", "squared_distances"]


class Coupling(ABC):
    """Pairs the rows of x0 with the rows of x1.

    Attributes:
        permutation: True where every row of x0 is used exactly once; couplings that draw x0 with
            replacement say False.
        moves: True where `pair` moves points of x0 by symmetries of its law (a shift, a rotation), so that
            they change; others only rearrange what there is.
    """

    permutation: bool = True
    moves: bool = False

    def pair(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """x0 rearranged to go with x1: by whole rows, unless a coupling pairs the points inside them too.

        Arguments as for `rows`.
        """
        rows = self.rows(x0, x1, cond, layout, generator=generator)
        return x0 if rows is None else take(x0, rows)

    @abstractmethod
    def rows(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """Which row of x0 goes with each row of x1.

        Args:
            x0: source states, ``n`` rows.
            x1: data states, ``n`` rows.
            cond: conditions of x1.
            layout: of x1; only its real and free entries count.
            generator: for couplings that draw.

        Returns:
            int64 ``(n,)``, a permutation unless the coupling says otherwise, or None for the order they
            came in.
        """


class Independent(Coupling):
    """The product coupling: rows as they came."""

    def rows(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """None: the order is already random."""
        return None


class _WithinGroups(Coupling):
    """Couplings by cost, confined to rows of the same real entries, and of the same class where asked.

    Coupling across classes skews the law of x0 given the class, while sampling draws x0 independently of
    it; ``within`` solves one problem per class and keeps that law intact. The size of an example is such a
    class as well: noise near the centre would go to rows of many atoms.
    """

    def __init__(self, geometry: Geometry, within: str | None = None) -> None:
        self.geometry, self.within = geometry, within

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Data without the classes that it is confined within."""
        spec = parts.get("spec")
        if self.within is not None and isinstance(spec, Spec) and self.within not in spec.conditions:
            have = ", ".join(spec.conditions) or "none"
            yield Clash(
                "coupling",
                "data",
                f"the coupling is confined within '{self.within}', but the data has no such condition; "
                f"it has: {have}",
            )

    def solve(self, cost: Tensor, generator: torch.Generator | None) -> Tensor:
        """Row of x0 for each row of x1, given the cost ``(n0, n1)``."""
        raise NotImplementedError

    def rows(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """Solve on the whole batch, or group by group where rows differ in size or are confined to classes.

        Raises:
            DataError: a row is not finite; says which.
        """
        if batch_size(x0) != batch_size(x1):
            raise ShapeError(f"x0 has {batch_size(x0)} rows, x1 has {batch_size(x1)}")
        if not batch_size(x1):
            return None
        cost = squared_distances(_wide(x0), _wide(x1), self.geometry, layout)
        _require_finite(cost)
        groups = self._groups(cond, layout)
        if groups is None:
            return self.solve(cost, generator)
        chosen = torch.empty(len(groups), dtype=torch.long, device=groups.device)
        for value in groups.unique():
            members = (groups == value).nonzero(as_tuple=True)[0]
            inner = self.solve(cost[members][:, members], generator)
            chosen[members] = members[inner]
        return chosen

    def _groups(self, cond: Cond, layout: Layout | None) -> Tensor | None:
        """A number for every row, equal where rows may be paired; None where all may."""
        told: list[Tensor] = []
        if layout is not None and layout.real is not None:
            told = [real.reshape(len(real), -1).long() for _, real in leaves(layout.real) if real is not None]
        if self.within is not None:
            if self.within not in cond:
                raise IncompatibleError(
                    f"the coupling is confined within '{self.within}', but the data has no such condition; "
                    f"it has: {sorted(cond) or 'none'}"
                )
            told.append(cond[self.within].reshape(-1, 1).long())
        return torch.cat(told, 1).unique(dim=0, return_inverse=True)[1] if told else None


class OptimalTransport(_WithinGroups):
    """Exact minibatch optimal transport of the squared distance: a permutation.

    The assignment is solved by scipy's Jonker-Volgenant code on the CPU.

    Padded rows are paired among those of the same size.

    Args:
        geometry: whose distance is squared; injected from the recipe where none is given.
        within: name of a class condition; pairs are then made only among rows of equal class.
    """

    def __init__(self, geometry: Geometry | None = None, within: str | None = None) -> None:
        super().__init__(geometry or Euclidean(), within)

    def solve(self, cost: Tensor, generator: torch.Generator | None) -> Tensor:
        """The permutation of least total cost."""
        return _assign(cost)


class Sinkhorn(_WithinGroups):
    """Entropic optimal transport (Cuturi 2013), solved in the log domain on the device.

    Args:
        geometry: whose distance is squared; injected from the recipe where none is given.
        epsilon: regularisation, as a fraction of the median cost, which an outlier does not move.
        iterations: most Sinkhorn iterations; stops early once the marginals hold to 1 %, and warns where
            they are off by more than 5 % at the end.
        draw: ``permutation`` uses every x0 exactly once: Gumbel noise is added to the log plan and the
            best assignment taken. ``plan`` draws x0 for each x1 from its column of the plan, as
            2304.14772 does; x0 may then repeat, and its law is kept in expectation only.
        within: see `OptimalTransport`.
    """

    def __init__(
        self,
        geometry: Geometry | None = None,
        epsilon: float = 0.05,
        iterations: int = 200,
        draw: Literal["permutation", "plan"] = "permutation",
        within: str | None = None,
    ) -> None:
        super().__init__(geometry or Euclidean(), within)
        if not 1e-6 <= epsilon < math.inf or iterations < 1:
            raise ValueError(
                f"epsilon is at least 1e-6 and iterations at least 1, got {epsilon} and {iterations}"
            )
        self.epsilon, self.iterations, self.draw = epsilon, iterations, draw
        self.permutation = draw == "permutation"

    def solve(self, cost: Tensor, generator: torch.Generator | None) -> Tensor:
        """A draw from the entropic plan."""
        log_plan = self.log_plan(cost)
        uniform = torch.rand(cost.shape, generator=generator, device=cost.device, dtype=cost.dtype)
        gumbel = -(-uniform.clamp_min(torch.finfo(cost.dtype).tiny).log()).log()
        noisy = log_plan + gumbel
        return noisy.argmax(0) if self.draw == "plan" else _assign(-noisy)

    def log_plan(self, cost: Tensor) -> Tensor:
        """Log of the plan ``(n0, n1)``, whose rows and columns sum to ``1/n``."""
        n, m = cost.shape
        tiny = torch.finfo(cost.dtype).tiny
        scale = torch.where(cost.median() > 0, cost.median(), cost.mean()).clamp_min(tiny)
        # What a whole row or column has in common changes no plan, and would only cost digits.
        cost = cost - cost.amin(0, keepdim=True)
        kernel = -(cost - cost.amin(1, keepdim=True)) / (self.epsilon * scale)
        row = torch.zeros(n, 1, device=cost.device, dtype=cost.dtype)
        column = torch.zeros(1, m, device=cost.device, dtype=cost.dtype)
        log_n, log_m = float(np.log(n)), float(np.log(m))
        off = torch.zeros(())
        for step in range(self.iterations):
            row = -torch.logsumexp(kernel + column, 1, keepdim=True) - log_n
            column = -torch.logsumexp(kernel + row, 0, keepdim=True) - log_m
            if step % 10 == 9 or step == self.iterations - 1:
                off = (torch.logsumexp(kernel + row + column, 1) + log_n).abs().max()
                if bool(off < 0.01):
                    break
        if bool(off > 0.05):
            warnings.warn(
                f"sinkhorn stopped after {self.iterations} iterations with marginals off by a factor of "
                f"{float(off.exp()):.3g}; raise iterations or epsilon (now {self.epsilon:g})",
                stacklevel=2,
            )
        return kernel + row + column


class StableMatching(_WithinGroups):
    """Stable matching by rank of distance (Gale and Shapley): a permutation in O(n^2), cheaper than OT.

    Args:
        geometry: whose distance ranks; injected from the recipe where none is given.
        within: see `OptimalTransport`.
    """

    def __init__(self, geometry: Geometry | None = None, within: str | None = None) -> None:
        super().__init__(geometry or Euclidean(), within)

    def solve(self, cost: Tensor, generator: torch.Generator | None) -> Tensor:
        """Rows of x0 propose to rows of x1, nearest first."""
        values = cost.detach().double().cpu().numpy()
        wishes = values.argsort(1)
        n = len(values)
        partner, asked, free = np.full(n, -1), np.zeros(n, int), list(range(n))
        while free:
            suitor = free.pop()
            choice = wishes[suitor, asked[suitor]]
            asked[suitor] += 1
            rival = partner[choice]
            if rival < 0 or values[suitor, choice] < values[rival, choice]:
                partner[choice] = suitor
                if rival >= 0:
                    free.append(rival)
            else:
                free.append(suitor)
        return torch.as_tensor(partner, device=cost.device)


def squared_distances(x0: State, x1: State, geometry: Geometry, layout: Layout | None = None) -> Tensor:
    """All squared distances, ``(n0, n1)``; parts of a product add up.

    Args:
        x0: states, ``n0`` rows.
        x1: states, ``n1`` rows.
        geometry: whose distance is squared.
        layout: of x1; only its real and free entries count.

    Raises:
        IncompatibleError: the geometry does not say how far parts, or tokens, are apart.
    """
    if isinstance(geometry, Product) and isinstance(x0, dict) and isinstance(x1, dict):
        parts = [
            squared_distances(x0[k], x1[k], g, None if layout is None else layout.part(k))
            for k, g in geometry.parts.items()
        ]
        return torch.stack(parts).sum(0)
    if isinstance(x0, dict) or isinstance(x1, dict):
        if type(geometry) is not Euclidean:
            raise IncompatibleError(
                f"a product state needs a product geometry for its coupling, got {geometry}"
            )
        return squared_distances(x0, x1, Product(dict.fromkeys(x1, geometry)), layout)
    if type(geometry) is Euclidean:
        if not x1.is_floating_point():
            raise IncompatibleError(
                "ids of tokens are no numbers: a coupling by distance needs geometry: discrete for them"
            )
        return _flat_distances(x0, x1, layout)
    n0, n1 = len(x0), len(x1)
    target: Tensor = x1 if layout is None else layout.fill(x1)
    rows: list[Tensor] = []
    for chunk in x0.split(max(1, 2**18 // max(1, n1))):
        left = chunk.repeat_interleave(n1, 0)
        right = target.repeat((len(chunk),) + (1,) * (target.ndim - 1))
        squares = geometry.distance_point(left, right).square()
        if layout is None:
            sums = squares.flatten(1).sum(1) if squares.ndim > 1 else squares
        else:
            sums = layout.take(torch.arange(n1, device=target.device).repeat(len(chunk))).sum(squares)
        rows.append(sums.reshape(len(chunk), n1))
    return torch.cat(rows) if n0 else x0.new_zeros(0, n1)


def _wide(x: State) -> State:
    """Half precision as single: squares of it lose the digits that tell pairs apart."""
    return map_state(lambda v: v.float() if v.is_floating_point() and v.dtype.itemsize < 4 else v, x)


def _flat_distances(x0: Tensor, x1: Tensor, layout: Layout | None) -> Tensor:
    """In float64, about the mean of x1: far from the origin, and between clusters that are far apart, squares
    would lose the digits that tell points apart.
    """
    dtype = torch.promote_types(x0.dtype, x1.dtype)
    x0, x1 = x0.double(), x1.double()
    a, b = x0.reshape(len(x0), -1), x1.reshape(len(x1), -1)
    if layout is None or layout.free is None:
        centre = torch.nan_to_num(b).mean(0)
        return torch.cdist(a - centre, b - centre).square().to(dtype)
    kept = layout.still(torch.ones_like(x1)).reshape(len(x1), -1)
    b = layout.still(x1).reshape(len(x1), -1)
    centre = torch.nan_to_num(b).sum(0) / kept.sum(0).clamp_min(1)
    # Padding of x0 may be anything, where it is data; padding of x1 takes it out below.
    a = torch.where(((a - centre).abs() < 1e18) | kept.all(0), a - centre, 0)
    b = torch.where(kept > 0, b - centre, 0)
    return (a.square() @ kept.T - 2 * a @ b.T + b.square().sum(1)).clamp_min(0).to(dtype)


def _require_finite(cost: Tensor) -> None:
    finite = cost.isfinite()
    if bool(finite.all()):
        return
    for whose, dim in (("the data", 0), ("the source", 1)):
        bad = ~finite.any(dim)
        if bool(bad.any()):
            raise DataError(
                f"a coupling by distance met a row of {whose} that is not finite, row "
                f"{int(bad.to(torch.uint8).argmax())} of a batch; look for NaN"
            )
    raise DataError("squared distances of this batch overflow; rescale the data (codec: standardize)")


def _assign(cost: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment  # slow to import

    solver: Callable[..., tuple[np.ndarray, np.ndarray]] = linear_sum_assignment
    _, rows = solver(cost.detach().t().double().cpu().numpy())
    return torch.as_tensor(rows, dtype=torch.long, device=cost.device)
