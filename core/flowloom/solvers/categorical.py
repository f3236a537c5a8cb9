"""Cheap draws from logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.errors import SolverError

_LARGE = 64
"""Vocabularies from which on tokens are drawn in two stages."""


def draw(logits: Tensor, temperature: float, generator: torch.Generator | None, top_p: float = 1.0) -> Tensor:
    """One token from each row of logits: ``(*shape, vocab) -> (*shape)``, int64.

    By inverting the cumulative sum, in float64: one uniform number a row instead of one a token, and no
    tail cut off by rounding (float32 noise trims rare tokens, which flatters perplexities).

    Args:
        logits: unnormalised log probabilities; minus infinity forbids a token.
        temperature: divides them.
        generator: draws the uniform numbers.
        top_p: keep the likeliest tokens that together hold this probability.

    Raises:
        SolverError: logits are NaN, or a row forbids every token.
    """
    shape, vocab = logits.shape[:-1], logits.shape[-1]
    flat = logits.reshape(-1, vocab).float()
    if flat.shape[0] == 0:
        return torch.zeros(shape, dtype=torch.long, device=logits.device)
    if temperature != 1:
        flat = flat / temperature
    p = torch.softmax(flat, -1)
    if top_p < 1:
        p = _nucleus(p, top_p)
    u = torch.rand((len(flat), 1), generator=generator, device=flat.device, dtype=torch.float64)
    if vocab < _LARGE:
        return _invert(p, u)[0].reshape(shape)
    # First a block, then a token within it: two short cumulative sums cost a fraction of a long one.
    width = 1 << round(math.log2(vocab) / 2)
    blocks = F.pad(p, (0, -vocab % width)).unflatten(-1, (-1, width))
    sums = blocks.sum(-1)
    block, edges, height = _invert(sums, u)
    chosen = blocks[torch.arange(len(flat), device=flat.device), block[:, 0]]
    # How far into its block the height reaches is uniform again; only rounding can leave [0, 1).
    short = (edges.gather(-1, block) - height) / sums.gather(-1, block)
    token, _, _ = _invert(chosen, (1 - short).clamp_(0, 1 - 1e-15))
    return (block * width + token).reshape(shape)


def _invert(p: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the cumulative sum of each row of ``p`` passes ``u`` of its end; the sum and that height too.

    Right side: a height on an edge belongs to the next entry, so that entries of 0 are never chosen.
    """
    edges = p.cumsum(-1, dtype=torch.float64)
    total = edges[:, -1:]
    if p.device.type == "cpu" and not bool(total.isfinite().all()):
        raise SolverError("the posterior's logits are not finite; check the model's weights and its input")
    height = u * total
    return torch.searchsorted(edges, height, right=True).clamp_(max=p.shape[-1] - 1), edges, height


def probability_of(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Probability of given ids ``(n,)`` under logits ``(n, vocab)``: ``(n,)``; 0 for the mask's id."""
    scaled = logits.float() / temperature
    known = tokens < logits.shape[-1]
    picked = scaled.gather(-1, tokens.clamp(max=logits.shape[-1] - 1)[:, None])[:, 0]
    return torch.exp(picked - scaled.logsumexp(-1)) * known


def _nucleus(p: Tensor, top_p: float) -> Tensor:
    """Zero all but the likeliest entries of each row that hold ``top_p`` of its sum."""
    ordered, order = p.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = torch.where(before < top_p * ordered.sum(-1, keepdim=True), ordered, 0)
    return torch.zeros_like(p).scatter_(-1, order, kept)
