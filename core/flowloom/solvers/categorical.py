"""Cheap draws from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import SolverError


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
    p = torch.exp(flat - flat.amax(-1, keepdim=True))
    if top_p < 1:
        p = _nucleus(p, top_p)
    edges = p.cumsum(-1, dtype=torch.float64)
    total = edges[:, -1:]
    if logits.device.type == "cpu" and not bool(total.isfinite().all()):
        raise SolverError("the posterior's logits are not finite; check the model's weights and its input")
    height = torch.rand((len(flat), 1), generator=generator, device=flat.device, dtype=torch.float64) * total
    # Right side: a height on an edge belongs to the next token, so tokens of no probability are never drawn.
    return torch.searchsorted(edges, height, right=True).clamp_(max=vocab - 1).reshape(shape)


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
