"""One inverse problem: what was measured of some rows, and how well states of a flow answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.state import Cond, expand
from flowloom_inverse.operators import Operator

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    r""":math:`y = A(D(x)) + s\,n` for every row, with n normal noise and D the decoder of the flow's codec.

    Args:
        flow: whose states x answer.
        operator: A.
        y: what was measured.
        drawn: what the operator drew for the rows.
        noise: s.
    """

    flow: Flow
    operator: Operator
    y: Tensor
    drawn: Cond
    noise: float

    @property
    def plain(self) -> bool:
        """Whether states are data, so that the operator's own exact answers hold for them."""
        return self.flow.codec is None

    def decode(self, x: Tensor) -> Tensor:
        """D(x), differentiable where the codec is."""
        if self.flow.codec is None:
            return x
        data = self.flow.decode(Examples(x)).x
        assert isinstance(data, Tensor)
        return data

    def encode(self, data: Tensor) -> Tensor:
        """States of data."""
        states = self.flow.encode(Examples(data)).x
        assert isinstance(states, Tensor)
        return states

    def residual(self, x: Tensor) -> Tensor:
        """``y - A(D(x))``, 0 where nothing was measured."""
        off = self.y - self.operator(self.decode(x), self.drawn)
        seen = self.operator.measured(self.y, self.drawn)
        return off if seen is None else off * seen

    def squares(self, x: Tensor) -> Tensor:
        """The mean squared residual of every row, over what was measured: ``(batch,)``."""
        return self._squares(self.residual(x))

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of ``|y - A(D(x))|^2 / 2`` of every row."""
        return self.misfit(x)[1]()

    def misfit(self, x: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """`squares`, and a function that makes `slope` of the same residual, for who may not want it."""
        if self.plain and self.operator.linear:
            off = self.residual(x)
            return self._squares(off), lambda: -self.operator.adjoint(off, self.drawn)
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            off = self.residual(point)

        def slope() -> Tensor:
            return torch.autograd.grad(off, point, off.detach())[0]

        return self._squares(off.detach()), slope

    def toward(self, x: Tensor, far: float) -> Tensor:
        r"""A move of ``x`` against the gradient of :math:`\|A^+ (y - A(D(x)))\|_2`, times ``far``.

        On linear problems that gradient is of unit size.
        """
        if self.plain and self.operator.linear:
            # A^+ A is an orthogonal projection, and the residual brought back lies in it.
            back = self.operator.back(self.residual(x), self.drawn)
            return torch.addcmul(x, back, expand(far / _norm(back), back))
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            value = _norm(self.operator.back(self.residual(point), self.drawn)).sum()
            (gradient,) = torch.autograd.grad(value, point)
        return torch.sub(x, gradient, alpha=far)

    def settle(self, x: Tensor, trust: float = 0.0) -> Tensor:
        """The states next to ``x`` that fit; see `Operator.settle`.

        Raises:
            IncompatibleError: a codec stands between states and data.
        """
        if not self.plain:
            raise IncompatibleError(
                "an exact step of data consistency is one of data, and a codec stands between; take steps of "
                "the gradient"
            )
        return self.operator.settle(x, self.y, self.drawn, trust)

    def _squares(self, off: Tensor) -> Tensor:
        squares = off.flatten(1).square()
        seen = self.operator.measured(self.y, self.drawn)
        return squares.mean(1) if seen is None else squares.sum(1) / seen.flatten(1).sum(1).clamp_min(1)


def _norm(x: Tensor) -> Tensor:
    """Of every row, kept off 0."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-8)
