"""A diffusion transformer that judges images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models import Critic
from flowloom.spec import Spec
from flowloom_images.models.dit import DiT, Size


class DiTCritic(Critic):
    """The blocks of a `DiT` with one more token, which is all that the logit is read from.

    The discriminator of adversarial flow models (2511.22475): a learned token in front of the patches, the
    same adaLN blocks (whose gates start at zero), then layer normalisation and a linear map without bias.

    Args:
        spec: of the data: images of real values.
        size: see `DiT`, as the other arguments.
        patch: width of a patch in pixels.
        width: of the tokens, instead of the size's.
        depth: number of blocks, instead of the size's.
        heads: attention heads, instead of the size's.
        conditions: names of the conditions to read, all of the data's when None.
        timed: False where images are only ever judged at one time.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        size: Size = "S",
        patch: int = 2,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        conditions: Sequence[str] | None = None,
        timed: bool = True,
    ) -> None:
        super().__init__()
        body = DiT(spec, size, patch, width, depth, heads, conditions=conditions, timed=timed)
        dim = body.head.in_features
        # What made an image of the tokens has no use here.
        del body.head, body.steer
        self.body = body
        self.token = nn.Parameter(0.02 * torch.randn(dim))
        self.out = nn.Linear(dim, 1, bias=False)
        nn.init.xavier_uniform_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:  # type: ignore[override]
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to logits ``(batch,)``."""
        body = self.body
        context = F.silu(body.context(t, cond))
        patches = body.to_tokens(x).flatten(2).transpose(1, 2) + body.positions
        tokens = torch.cat([self.token.expand(len(x), 1, -1), patches], 1)
        for block in body.blocks:
            tokens = block(tokens, context)
        return self.out(body.norm(tokens[:, 0]))[:, 0]
