"""A causal transformer over the states of a trajectory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec


class CausalTrajectory(nn.Module):
    r"""From states :math:`x_{t_0}, \dots, x_{t_k}` to a law of the next one, for all k at once (2410.05292).

    A state is cut into ``pieces`` tokens of equal width. Tokens see those of their own state and of all
    earlier ones; what stands above a piece of state k says of the same piece of state k + 1

    .. math:: z \sim N(\mu(h), \sigma(h)^2), \qquad \hat x_{k+1} = D(z).

    As a network of the flow it takes one state alone for the whole history, and answers with the mean of
    the next.

    Args:
        spec: of the data: one real tensor; injected from the recipe.
        steps: N, transitions of a trajectory.
        pieces: tokens of one state.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
        latent: entries of z for every piece.

    Raises:
        IncompatibleError: states are tokens or have parts, or do not divide into pieces.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        steps: int = 8,
        pieces: int = 1,
        width: int = 48,
        depth: int = 2,
        heads: int = 4,
        latent: int = 16,
    ) -> None:
        super().__init__()
        require_sizes(steps=steps, pieces=pieces, width=width, depth=depth, heads=heads, latent=latent)
        if spec.parts or spec.vocab is not None:
            raise IncompatibleError("causal-trajectory takes states of one real tensor")
        size = math.prod(spec.shape)
        if size % pieces or width % (2 * heads):
            raise IncompatibleError(
                f"{size} entries do not divide into {pieces} pieces, or width {width} into {heads} even heads"
            )
        self.spec, self.steps, self.pieces, self.heads = spec, steps, pieces, heads
        self.enter = nn.Linear(size // pieces, width)
        self.place = nn.Parameter(0.02 * torch.randn(pieces, width))
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(spec.conditions, width)
        self.blocks = nn.ModuleList(Block(width, heads, 0.0) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.to_latent = nn.Linear(width, 2 * latent)
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, size // pieces))

    def posterior(self, history: Tensor, t: Tensor, cond: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z ``(batch, k, pieces, latent)``.

        Args:
            history: states ``(batch, k, *event)``.
            t: their times ``(batch, k)``.
            cond: conditions of the rows.
        """
        n, k = history.shape[:2]
        tokens = self.enter(history.reshape(n, k * self.pieces, self.enter.in_features)) + self.place.repeat(
            k, 1
        )
        told = self.condition(cond, n)
        context = self.time(t)
        context = context + (told[:, None] if isinstance(told, Tensor) else told)
        context = nn.functional.silu(context.repeat_interleave(self.pieces, 1))
        when = torch.arange(k, device=history.device).repeat_interleave(self.pieces)
        seen = when[:, None] >= when
        angles = rotary(len(when), tokens.shape[-1] // self.heads, tokens)
        for block in self.blocks:
            tokens = block(tokens, context, angles, seen)
        mean, log_var = self.to_latent(self.norm(tokens)).unflatten(1, (k, self.pieces)).chunk(2, -1)
        return mean, log_var.clamp(-12, 6)

    def decode(self, z: Tensor) -> Tensor:
        """States ``(batch, k, *event)`` of latents."""
        found: Tensor = self.decoder(z)
        return found.reshape(*z.shape[:2], *self.spec.shape)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The mean of the state after ``x``: ``(batch, *event)``."""
        return self.decode(self.posterior(x[:, None], t[:, None], cond)[0])[:, 0]
