"""The loss of language models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import Path
from flowloom.sources import Source

__all__ = ["NextToken"]


class NextToken(Objective):
    r"""Cross entropy of every real token given those before it: :math:`-E \log p(x^i | x^{<i})`.

    Trains judges of text, which score what flows write. Nothing is sampled of it here.

    Args:
        path: of the tokens; injected from the recipe, and of no matter: the network sees data alone.
    """

    generates = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def kind(self) -> Kind:
        """``next-token``: logits of what comes next, which no solver takes."""
        return "next-token"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Ask for all tokens at once."""
        x = batch.x1
        if not isinstance(x, Tensor) or x.is_floating_point():
            raise ShapeError("next-token predicts token ids (n, L); give data of tokens and no codec")
        layout = batch.layout
        wanted: Tensor = x if layout is None else layout.zero(x)
        t = torch.full((len(x),), self.path.span[1], device=x.device)
        logits = model(x, t, **batch.cond)
        if layout is not None:
            logits = layout.still(logits)
        nats = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(x.shape)
        # A given prompt is read, and not learned.
        free = None if layout is None else layout.free
        kept = torch.ones_like(x, dtype=torch.bool) if free is None else free
        mean = torch.where(kept, nats, 0.0).sum() / kept.sum().clamp_min(1)
        return Loss(mean, {"cross_entropy": mean.detach()})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The logits."""
        return NetworkField(model, self.kind, self.path, source)
