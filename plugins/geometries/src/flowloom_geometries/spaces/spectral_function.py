"""Functions of symmetric matrices, differentiable where eigenvalues repeat."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

Scalar = Literal["exp", "log", "sqrt", "rsqrt"]


def symmetric_function(x: Tensor, name: Scalar) -> Tensor:
    r"""``V f(L) V^T`` for symmetric ``x = V L V^T``: shape of ``x``.

    The derivative is that of Daleckii and Krein, :math:`V (F \circ V^T dX V) V^T` with divided differences
    :math:`F_{ij} = (f_i - f_j)/(l_i - l_j)`, evaluated by forms that do not cancel: eigenvalues may repeat.
    """
    return _Apply.apply(x, name)[0]  # type: ignore[no-untyped-call]


def powers(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x^(1/2)`` and ``x^(-1/2)`` of symmetric positive matrices."""
    return symmetric_function(x, "sqrt"), symmetric_function(x, "rsqrt")


def divided_difference(values: Tensor, name: Scalar) -> Tensor:
    """The matrix F of divided differences of ``f`` at eigenvalues ``(..., n)``: ``(..., n, n)``."""
    a, b = values[..., :, None], values[..., None, :]
    if name == "exp":
        # exp((a+b)/2) sinh(h)/h with h = (a-b)/2
        half = 0.5 * (a - b).abs()
        ratio = torch.where(half > 1e-3, half.sinh() / half.clamp_min(1e-3), 1 + half.square() / 6)
        return (0.5 * (a + b)).exp() * ratio
    if name == "log":
        # 2 artanh(r) / (a - b) with r = (a-b)/(a+b)
        r = ((a - b) / (a + b)).abs()
        small = 1 + r.square() / 3
        return 2 / (a + b) * torch.where(r > 1e-2, r.clamp(1e-2, 1 - 1e-7).atanh() / r.clamp_min(1e-2), small)
    root = a.sqrt() + b.sqrt()
    return 1 / root if name == "sqrt" else -1 / (root * a.sqrt() * b.sqrt())


def evaluate(values: Tensor, name: Scalar) -> Tensor:
    """``f`` at eigenvalues; those that must be positive are kept above the smallest normal number."""
    if name == "exp":
        return values.exp()
    kept = values.clamp_min(torch.finfo(values.dtype).tiny)
    return {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt}[name](kept)


class _Apply(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, name: Scalar) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(0.5 * (x + x.mT))
        if name != "exp":
            values = values.clamp_min(torch.finfo(values.dtype).tiny)
        return (vectors * evaluate(values, name)[..., None, :]) @ vectors.mT, values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, values, vectors = output
        ctx.name = inputs[1]
        ctx.mark_non_differentiable(values, vectors)
        ctx.save_for_backward(values, vectors)
        ctx.save_for_forward(values, vectors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        return frechet(values, vectors, grads[0], ctx.name), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None, None]:
        values, vectors = ctx.saved_tensors
        return frechet(values, vectors, tangents[0], ctx.name), None, None


def frechet(values: Tensor, vectors: Tensor, direction: Tensor, name: Scalar) -> Tensor:
    """The derivative of the matrix function along (the symmetric part of) ``direction``."""
    symmetric = 0.5 * (direction + direction.mT)
    inner = divided_difference(values, name) * (vectors.mT @ symmetric @ vectors)
    return vectors @ inner @ vectors.mT
