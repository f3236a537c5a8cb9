"""One inverse problem: what was measured of some rows, and how well states of a flow answer it."""

from __future__ import annotations

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
        off = self.residual(x).square().flatten(1)
        seen = self.operator.measured(self.y, self.drawn)
        return off.mean(1) if seen is None else off.sum(1) / seen.flatten(1).sum(1).clamp_min(1)

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of ``|y - A(D(x))|^2 / 2`` of every row."""
        if self.plain and self.operator.linear:
            return -self.operator.adjoint(self.residual(x), self.drawn)
        return self._gradient(x, lambda point: 0.5 * self.residual(point).square().sum())

    def direction(self, x: Tensor) -> Tensor:
        r"""The gradient of :math:`\|A^+ (y - A(D(x)))\|_2` of every row: of unit size on linear problems."""
        if self.plain and self.operator.linear:
            # A^+ A is an orthogonal projection, and the residual brought back lies in it.
            back = self.operator.back(self.residual(x), self.drawn)
            return -back / expand(_norm(back), back)
        return self._gradient(
            x, lambda point: _norm(self.operator.back(self.residual(point), self.drawn)).sum()
        )

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

    @staticmethod
    def _gradient(x: Tensor, value) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(value(point), point)
        return gradient


def _norm(x: Tensor) -> Tensor:
    """Of every row, kept off 0."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-8)
