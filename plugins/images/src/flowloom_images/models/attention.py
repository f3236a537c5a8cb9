"""Scaled dot-product attention that also lives under forward-mode differentiation."""

from __future__ import annotations

import math

from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import scaled_dot_product_attention


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Softmax attention over the last but one dimension: ``(..., tokens, width)`` each, and out.

    ``seen`` marks the keys that a query may look at, all where None.

    PyTorch's fused kernels have no forward-mode derivative, so a call whose inputs carry tangents (under
    ``torch.func.jvp``) takes the written-out form; every other call is fused.
    """
    if any(_tangent(x) is not None for x in (q, k, v)):
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if seen is not None:
            weights = weights.masked_fill(~seen, -math.inf)
        return weights.softmax(-1) @ v
    return scaled_dot_product_attention(q, k, v, attn_mask=seen)


def _tangent(x: Tensor) -> Tensor | None:
    return forward_ad.unpack_dual(x).tangent
