"""The orthogonal polar factor, differentiable to any order where singular values repeat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def polar_factor(x: Tensor, special: bool = False) -> Tensor:
    r"""The matrix with orthonormal columns nearest to ``x`` in the Frobenius norm: shape of ``x``.

    With :math:`x = U S V^T` this is :math:`Q = U V^T`. Differentiating the SVD itself would divide by
    differences of singular values, all of which vanish on the manifold; the polar factor needs only their
    sums (Higham, *Functions of Matrices*, section 8). With :math:`H = Q^T x = V S V^T`,

    .. math:: dQ = Q\,\Omega + (I - Q Q^T)\, dx\, H^{-1}, \qquad
        H \Omega + \Omega H = Q^T dx - dx^T Q.

    Derivatives of every order are right in reverse mode, over forward mode too; forward over forward mode
    drops terms, as torch does for every ``autograd.Function`` (pytorch issue 197867).

    Args:
        x: ``(..., n, k)`` with ``n >= k``.
        special: for square matrices, the nearest one of determinant +1.
    """
    # Half precision has neither decompositions nor determinants, and autocast would make halves of products.
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    with torch.autocast(x.device.type, enabled=False):
        # Only constants here: derivatives come from `_Polar`, never from those of singular vectors.
        u, s, vh = torch.linalg.svd(wide.detach(), full_matrices=False)
        if special:
            sign = torch.linalg.det(u @ vh).sign()
            flip = torch.cat([torch.ones_like(s[..., :-1]), sign[..., None]], -1)
            u, s = u * flip[..., None, :], s * flip
        found: Tensor = _Polar.apply(wide, u, s, vh.mT)  # type: ignore[no-untyped-call]
    return found.to(x.dtype)


def sylvester(h: Tensor, b: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """The solution of ``h y + y h = b`` for symmetric ``h = v diag(s) v^T``; 0 where ``s_i + s_j`` is 0."""
    return _Sylvester.apply(h, b, s, v)  # type: ignore[no-untyped-call]


class _Sylvester(Function):
    """``dy`` solves the same equation, of right side ``db - dh y - y dh``; the solution is self-adjoint."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, b: Tensor, s: Tensor, v: Tensor) -> Tensor:
        total = s[..., :, None] + s[..., None, :]
        vanishes = total.abs() <= 1e-30
        scale = torch.where(vanishes, 0, 1 / torch.where(vanishes, 1, total))
        return v @ (scale * (v.mT @ b @ v)) @ v.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        h, _, s, v = inputs
        # The solution is kept with its graph: it is part of its own derivative.
        ctx.save_for_backward(h, s, v, output)
        ctx.save_for_forward(h, s, v, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        h, s, v, y = ctx.saved_tensors
        to_b = sylvester(h, grads[0], s, v)
        to_h = to_b @ y.mT + y.mT @ to_b
        return -0.5 * (to_h + to_h.mT), to_b, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        h, s, v, y = ctx.saved_tensors
        dh, db, *_ = tangents
        right = torch.zeros_like(y) if db is None else db
        return sylvester(h, right if dh is None else right - dh @ y - y @ dh, s, v)


def _turn(x: Tensor, q: Tensor, s: Tensor, v: Tensor, dx: Tensor) -> Tensor:
    """Derivative of the polar factor ``q`` of ``x`` along dx, in operations that can be differentiated again.

    Inside the column space it is a rotation; what is outside is scaled.
    """
    h = q.mT @ x
    h = 0.5 * (h + h.mT)
    a = q.mT @ dx
    inside = q @ sylvester(h, a - a.mT, s, v)
    if q.shape[-2] == q.shape[-1]:
        return inside
    eye = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    inverse = sylvester(h, (2 * eye).expand_as(h), s, v)
    return inside + (dx - q @ a) @ inverse


class _Polar(Function):
    """Polar factor with its derivative in both modes.

    That is one map: the factor is the gradient of the sum of singular values, so its derivative is a
    Hessian, its own adjoint.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, u: Tensor, s: Tensor, v: Tensor) -> Tensor:
        return u @ v.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, _, s, v = inputs
        ctx.save_for_backward(x, output, s, v)
        ctx.save_for_forward(x, output, s, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, q, s, v = ctx.saved_tensors
        return _turn(x, q, s, v, grads[0]), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, q, s, v = ctx.saved_tensors
        return _turn(x, q, s, v, tangents[0])
