"""Scaled dot-product attention that also lives under forward-mode differentiation, and rotary positions."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    seen: Tensor | None = None,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention over the last but one dimension: ``(..., tokens, width)`` each, and out.

    ``seen`` marks the keys that a query may look at, all where None. ``causal``: queries are the last of as
    many tokens as there are keys, and each looks at itself and those before it, among the ``seen``. ``bias``
    is added to the products of queries and keys, in place of both.

    PyTorch's fused kernels have no forward-mode derivative, so a call whose inputs carry tangents (under
    ``torch.func.jvp``) takes the written-out form; every other call is fused.
    """
    fused = all(_tangent(x) is None for x in (q, k, v))
    n, m = q.shape[-2], k.shape[-2]
    if causal and fused and seen is None and n == m:
        return scaled_dot_product_attention(q, k, v, is_causal=True)
    if causal and n > 1:
        before = torch.ones(n, m, dtype=torch.bool, device=q.device).tril(m - n)
        seen = before if seen is None else seen & before
    if fused:
        return scaled_dot_product_attention(q, k, v, attn_mask=seen if bias is None else bias)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        weights = weights + bias
    if seen is not None:
        weights = weights.masked_fill(~seen, -math.inf)
    return weights.softmax(-1) @ v


def differentiable_twice() -> AbstractContextManager[None]:
    """Within it attention has second derivatives, which fused kernels lack: for losses of a slope."""
    written_out: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return written_out


def rotary(length: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``(length, size / 2)`` of the angles of every position (2104.09864)."""
    frequency = 10_000.0 ** -(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angle = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * frequency
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def turn(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs of features ``(..., L, size)`` by the angles of their position."""
    cos, sin = angles
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _tangent(x: Tensor) -> Tensor | None:
    return forward_ad.unpack_dual(x).tangent
