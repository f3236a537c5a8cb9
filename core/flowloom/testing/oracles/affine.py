r"""A linear flow in R^d.

.. math:: \dot x = f(t)\, A x, \quad f(t) = 1 + t, \qquad
          x(t) = e^{(F(t) - F(s)) A}\, x(s), \quad F(t) = t + t^2/2, \qquad
          \mathrm{div} = f(t)\,\mathrm{tr} A.

f differs at the ends of every step, so a method that looks at the wrong time loses its order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.fields import Field, FlowMap
from flowloom.geometry import Euclidean
from flowloom.paths import AffinePath
from flowloom.sources import Gaussian
from flowloom.state import Cond, State, expand


def _spread(t: Tensor | float, power: int = 1) -> Any:
    return t + t * t / 2 if power else 1 + t


class LinearFlow(Field):
    """The field of ``dx/dt = (1 + t) A x`` on rows of shape ``(d,)``, with its exact solution.

    Args:
        matrix: A, ``(d, d)``.
    """

    kind = "velocity"

    def __init__(self, matrix: Tensor | None = None) -> None:
        default = torch.tensor([[-0.4, 1.3], [-0.9, 0.2]], dtype=torch.float64)
        self.matrix = default if matrix is None else matrix
        self.geometry, self.path = Euclidean(), AffinePath()

    def __call__(self, x: Any, t: Any, cond: Cond) -> State:
        """The velocity."""
        return expand(_spread(t, 0), x) * (x @ self.matrix.to(x.dtype).T)

    def solution(self, x: Any, s: float, t: float) -> Any:
        """Where ``x`` at time ``s`` is at time ``t``."""
        return x @ torch.linalg.matrix_exp((_spread(t) - _spread(s)) * self.matrix).to(x.dtype).T

    def divergence(self, t: float) -> float:
        """The divergence, the same everywhere."""
        return float((1 + t) * self.matrix.trace())

    def log_gain(self, s: float, t: float) -> float:
        """The integral of the divergence from ``s`` to ``t``."""
        return float((_spread(t) - _spread(s)) * self.matrix.trace())


class AffineMap(FlowMap):
    """The exact flow map of a `LinearFlow`.

    Args:
        flow: the linear flow.
    """

    def __init__(self, flow: LinearFlow | None = None) -> None:
        self.flow = flow or LinearFlow()
        self.geometry, self.path = self.flow.geometry, self.flow.path

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """Carry every row between its own two times."""
        assert isinstance(x, Tensor)
        span = (_spread(t) - _spread(s)).to(x.dtype)[:, None, None]
        return torch.einsum("nij,nj->ni", torch.linalg.matrix_exp(span * self.flow.matrix.to(x.dtype)), x)

    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        """The linear field."""
        return self.flow(x, t, cond)


class FakeConditional(Field):
    """A conditional field for tests of guidance: ``v = a(t) x + label``, and ``v = a(t) x`` where withheld.

    It counts its calls and the rows it was given.

    Args:
        kind: the kind it claims.
        vocab: for posteriors, the number of tokens: logits are then made of the label and the time.
    """

    def __init__(self, kind: str = "velocity", vocab: int = 0) -> None:
        self.kind, self.vocab = kind, vocab
        self.geometry, self.path = Euclidean(), AffinePath()
        self.source, self.informs = Gaussian(), ("label",)
        self.count = self.rows = 0

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Evaluate and count."""
        assert isinstance(x, Tensor)
        self.count += 1
        self.rows += len(x)
        # An absent label counts as 0, and so as withheld.
        label = cond.get("label", torch.zeros(len(x))).to(x.dtype if x.is_floating_point() else torch.float64)
        shown = torch.ones_like(label)
        for name in ("null", "null_label"):
            if name in cond:
                shown = shown * (~cond[name]).to(label.dtype)
        value = expand(label * shown + 1, x)
        if self.vocab:
            tokens = torch.arange(self.vocab, dtype=label.dtype)
            return (value * torch.ones(x.shape, dtype=label.dtype))[..., None] * tokens.cos()
        return expand((1 + t).cos(), x) * x + value
