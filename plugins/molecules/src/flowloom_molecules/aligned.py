"""Pairs inside a row: x0 moved by the symmetries of its law until it lies near x1."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from flowloom.couplings import Coupling
from flowloom.errors import IncompatibleError
from flowloom.geometry import Euclidean, Geometry
from flowloom.layout import Layout
from flowloom.state import Cond, State


class Aligned(Coupling):
    r"""Moves the points of x0 by translations, rotations and permutations that bring them near those of x1.

    The law of x0 and the network are unchanged by these moves, so that a flow of the pairs

    .. math:: \min_{g} \sum_i d(g\, x_0^{\pi(i)}, x_1^i)^2

    is a flow of the orbits: equivariant optimal transport inside a row (Klein et al. 2306.15030; Song et al.
    2312.07168, whose alternation of assignment and Kabsch this is). With ``translate`` alone, on a torus, it
    removes the mean velocity of fractional coordinates (FlowMM, 2406.04713): x0 is shifted until the mean of
    ``log(x0, x1)`` over real points is 0. In flat space the same takes the centre of mass out.

    Entries that are padding or given neither move nor pull.

    Args:
        geometry: of the states; injected from the recipe.
        of: the part that holds the points ``(n, d)``; the state itself where empty.
        translate: shift all points of a row together.
        rotate: turn them about their centre by the rotation of Kabsch; in flat space only.
        assign: reorder them by the assignment of least squared distance.
        alike: a part of token ids; only points with the same id of x1 change places, as must be where ids
            are held. All points may where empty.
        rounds: alternations of assignment and rotation.
    """

    moves = True

    def __init__(
        self,
        geometry: Geometry | None = None,
        of: str = "",
        translate: bool = True,
        rotate: bool = False,
        assign: bool = False,
        alike: str = "",
        rounds: int = 1,
    ) -> None:
        self.geometry = geometry or Euclidean()
        self.of, self.alike = of, alike
        self.translate, self.rotate, self.assign, self.rounds = translate, rotate, assign, rounds
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {rounds}")
        if rotate and not self._space.straight:
            raise IncompatibleError(f"coupling aligned turns points of flat space, not of {self._space}")
        if not self._space.flat:
            raise IncompatibleError(
                f"coupling aligned shifts points of flat spaces and tori, not of {self._space}"
            )

    @property
    def _space(self) -> Geometry:
        return self.geometry.part(self.of) if self.of else self.geometry

    def rows(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """None: whole rows stay."""
        return None

    def pair(
        self,
        x0: State,
        x1: State,
        cond: Cond,
        layout: Layout | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        """x0 with its points moved."""
        own = layout.at(self.of) if layout is not None else Layout()
        if not self.of:
            assert isinstance(x0, Tensor) and isinstance(x1, Tensor)
            return self.moved(x0, x1, own.free)
        assert isinstance(x0, dict) and isinstance(x1, dict)
        start: Any = x0[self.of]
        ids: Any = x1[self.alike] if self.alike else None
        return {**x0, self.of: self.moved(start, x1[self.of], own.free, ids)}

    def moved(self, x0: Any, x1: Any, free: Tensor | None, ids: Tensor | None = None) -> Tensor:
        """Points ``(batch, n, d)`` of x0, moved.

        Args:
            x0: points.
            x1: points to come near to.
            free: which of them count, ``(batch, n)``; all where None.
            ids: ids of x1 ``(batch, n)`` that tell which points may change places.
        """
        if x1.ndim != 3:
            return x0
        weight = x1.new_ones(x1.shape[:2]) if free is None else free.to(x1.dtype)
        # What stands in padding may be NaN.
        target = torch.where(weight[..., None] > 0, x1, torch.zeros_like(x1))
        start = torch.where(weight[..., None] > 0, x0, torch.zeros_like(x0))
        if self.translate:
            start = self._shifted(start, target, weight)
        for _ in range(self.rounds):
            if self.assign:
                start = self._assigned(start, target, weight, ids)
            if self.rotate:
                start = kabsch(start, target, weight)
            if self.translate and self.assign:
                start = self._shifted(start, target, weight)
        return torch.where(weight[..., None] > 0, start, x0)

    def _shifted(self, x0: Tensor, x1: Tensor, weight: Tensor) -> Tensor:
        space, share = self._space, weight / weight.sum(1, keepdim=True).clamp_min(1)
        # On a torus a shift may change which way round is shorter; a few rounds settle that.
        for _ in range(1 if space.straight else 8):
            mean = (share[..., None] * space.log(x0, x1)).sum(1, keepdim=True)
            x0 = space.exp(x0, mean.expand_as(x0))
        return x0

    def _assigned(self, x0: Tensor, x1: Tensor, weight: Tensor, ids: Tensor | None) -> Tensor:
        space = self._space
        way = space.log(
            x0[:, :, None].expand(-1, -1, x1.shape[1], -1), x1[:, None].expand(-1, x0.shape[1], -1, -1)
        )
        cost = way.square().sum(-1)
        apart = weight[:, :, None] != weight[:, None, :]
        if ids is not None:
            apart = apart | (ids[:, :, None] != ids[:, None, :])
        none = 1 - weight
        idle = none[:, :, None] * none[:, None, :] > 0
        cost = cost.detach().double()
        # More than any order of allowed pairs, in whatever unit.
        never = cost.amax((1, 2), keepdim=True) * x0.shape[1] + 1
        cost = torch.where(apart, never, cost).masked_fill(idle, 0.0)
        table = cost.cpu().numpy()
        order = np.stack([linear_sum_assignment(one.T)[1] for one in table])
        chosen = torch.as_tensor(order, device=x0.device)[..., None].expand_as(x0)
        return x0.gather(1, chosen)


def kabsch(x0: Tensor, x1: Tensor, weight: Tensor) -> Tensor:
    """``x0`` turned about its centre by the proper rotation that brings it nearest to ``x1``.

    Args:
        x0: points ``(batch, n, d)``.
        x1: points to come near to.
        weight: of every point, ``(batch, n)``.
    """
    share = (weight / weight.sum(1, keepdim=True).clamp_min(1e-12))[..., None]
    centre = (share * x0).sum(1, keepdim=True)
    a, b = x0 - centre, x1 - (share * x1).sum(1, keepdim=True)
    u, _, vt = torch.linalg.svd((share * a).mT.double() @ b.double())
    sign = torch.ones(u.shape[:-1], dtype=u.dtype, device=u.device)
    sign[:, -1] = torch.sign(torch.linalg.det(u @ vt))
    return (a.double() @ (u * sign[:, None, :] @ vt)).to(x0.dtype) + centre
