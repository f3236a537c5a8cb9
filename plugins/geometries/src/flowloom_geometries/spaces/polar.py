"""The orthogonal polar factor, with a derivative that does not care about repeated singular values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def polar_factor(x: Tensor, special: bool = False) -> Tensor:
    r"""The matrix with orthonormal columns nearest to ``x`` in the Frobenius norm: shape of ``x``.

    With :math:`x = U S V^T` this is :math:`U V^T`. Differentiating the SVD itself would divide by
    differences of singular values, all of which vanish on the manifold; the polar factor needs only their
    sums (Higham, *Functions of Matrices*, section 8).

    Args:
        x: ``(..., n, k)`` with ``n >= k``.
        special: for square matrices, the nearest one of determinant +1.
    """
    return _Polar.apply(x, special)[0]  # type: ignore[no-untyped-call]


def _turn(u: Tensor, s: Tensor, vh: Tensor, dx: Tensor) -> Tensor:
    """Derivative of ``u vh`` in direction dx: inside the column space a rotation, outside ``x^+`` scaled."""
    a = u.mT @ dx @ vh.mT
    total = s[..., :, None] + s[..., None, :]
    safe = torch.where(total.abs() > 1e-30, total, torch.ones_like(total))
    inside = u @ ((a - a.mT) / safe) @ vh
    if u.shape[-2] == u.shape[-1]:
        return inside
    outside = dx @ vh.mT - u @ a
    scale = torch.where(s.abs() > 1e-30, s, torch.ones_like(s))
    return inside + (outside / scale[..., None, :]) @ vh


class _Polar(Function):
    """Polar factor with its derivative in both modes; the derivative is the same self-adjoint-like map."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, special: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u, s, vh = torch.linalg.svd(x, full_matrices=False)
        if special:
            sign = torch.linalg.det(u @ vh).sign()
            flip = torch.cat([torch.ones_like(s[..., :-1]), sign[..., None]], -1)
            u, s = u * flip[..., None, :], s * flip
        return u @ vh, u, s, vh

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, u, s, vh = output
        ctx.mark_non_differentiable(u, s, vh)
        ctx.save_for_backward(u, s, vh)
        ctx.save_for_forward(u, s, vh)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        u, s, vh = ctx.saved_tensors
        # In the singular basis the map divides entrywise by symmetric sums, so it is its own adjoint.
        return _turn(u, s, vh, grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None, None, None]:
        u, s, vh = ctx.saved_tensors
        return _turn(u, s, vh, tangents[0]), None, None, None
