"""Moves and components, drawn by what a network says of them."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import TrainingError


def one_of(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One index a row, drawn in proportion to ``weights`` ``(n, k)``: ``(n,)``.

    Raises:
        TrainingError: weights are no numbers, as those of a policy that diverged are not.
    """
    bad = int((~weights.isfinite()).any(-1).sum())
    if bad:
        raise TrainingError(
            f"the policy says probabilities of {bad} of {len(weights)} moves that are not finite: it has "
            "diverged; train with a smaller lr"
        )
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
