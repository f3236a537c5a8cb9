"""The transformer of Stable Diffusion 3: image and text tokens in one attention, each with own weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import or_zeros
from flowloom.errors import IncompatibleError
from flowloom.models import TimeEmbedding
from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_images.models.dit import sincos_positions
from flowloom_images.models.image_spec import image_shape

__all__ = ["MMDiT"]


class MMDiT(nn.Module):
    """MM-DiT (Esser et al. 2403.03206), and MMDiT-X, which Stable Diffusion 3.5 medium is.

    Tokens of images and of text have projections, feed-forward layers and adaptive norms of their own, and
    one attention over both. Time and a pooled vector of the text steer every block. Rows whose conditions are
    withheld have zeros in their place, as an empty prompt would. Text features are computed beforehand.

    ``depth: 24`` with 4,096 text features and 2,048 pooled ones on 16 channels is SD3 medium, of
    2,028,328,000 parameters; ``qk_norm: true, dual: 13`` SD3.5 medium, of 2,243,171,520.

    Args:
        spec: of the data: images of real values.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
        patch: width of a patch in pixels.
        text: condition of shape ``(tokens, features)``; None for a network that is told nothing.
        pooled: condition of shape ``(features,)``; None likewise.
        qk_norm: whether queries and keys are normalised.
        dual: how many of the first blocks have a second attention, over the image alone.

    Raises:
        IncompatibleError: the data are no images, the patch does not divide them, or a condition is missing.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 1536,
        depth: int = 24,
        heads: int = 24,
        patch: int = 2,
        text: str | None = "text",
        pooled: str | None = "pooled",
        qk_norm: bool = False,
        dual: int = 0,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, patch=patch)
        channels, height, breadth = image_shape(spec, "MMDiT")
        if height % patch or breadth % patch:
            raise IncompatibleError(f"patches of {patch} do not divide images of {height} x {breadth}")
        if width % heads or width % 4 or not 0 <= dual <= depth:
            raise ValueError(
                f"width is divisible by heads and by 4, and dual at most depth; got width {width}, heads "
                f"{heads}, dual {dual} of {depth}"
            )
        for name, ndim in ((text, 2), (pooled, 1)):
            if name is not None and len(getattr(spec.conditions.get(name), "shape", ())) != ndim:
                raise IncompatibleError(
                    f"MMDiT reads the condition '{name}' of {ndim} dimensions; give null for none"
                )
        self.spec, self.patch, self.text, self.pooled = spec, patch, text, pooled
        self.conditional = bool(text or pooled)
        self.grid = (height // patch, breadth // patch)
        self.to_tokens = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("positions", sincos_positions(*self.grid, width), persistent=False)
        self.time = TimeEmbedding(width)
        if pooled is not None:
            size = spec.conditions[pooled].shape[0]
            self.to_pooled = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))
        if text is not None:
            self.to_text = nn.Linear(spec.conditions[text].shape[1], width)
        self.blocks = nn.ModuleList(
            _Joint(width, heads, qk_norm, dual=k < dual, last=k == depth - 1, told=text is not None)
            for k in range(depth)
        )
        self.steer, self.head = nn.Linear(width, 2 * width), nn.Linear(width, patch * patch * channels)
        closed = [module.linear for module in self.modules() if isinstance(module, _Steer)]
        for layer in (*closed, self.steer, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to images."""
        told = self.time(t)
        if self.pooled is not None:
            told = told + self.to_pooled(self._told(self.pooled, x, cond))
        told = F.silu(told)
        text = None if self.text is None else self.to_text(self._told(self.text, x, cond))
        tokens = self.to_tokens(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens, text = block(tokens, text, told)
        shift, scale = self.steer(told)[:, None].chunk(2, -1)
        patches = self.head(_normal(tokens) * (1 + scale) + shift)
        (rows, columns), p = self.grid, self.patch
        image = patches.reshape(len(x), rows, columns, p, p, -1).permute(0, 5, 1, 3, 2, 4)
        return image.reshape(len(x), -1, rows * p, columns * p)

    def _told(self, name: str, x: Tensor, cond: dict[str, Tensor]) -> Tensor:
        return or_zeros(cond, name, self.spec.conditions[name].shape, x)


class _Steer(nn.Module):
    """Shift, scale and gate of ``count`` places from what is told."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.linear, self.count = nn.Linear(width, count * width), count

    def forward(self, told: Tensor) -> tuple[Tensor, ...]:
        return self.linear(told)[:, None].chunk(self.count, -1)


class _Attention(nn.Module):
    """Projections of one stream into an attention, and out of it unless nobody asks."""

    def __init__(self, width: int, heads: int, qk_norm: bool, out: bool = True) -> None:
        super().__init__()
        self.heads, self.qkv = heads, nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width) if out else None
        norms = [nn.RMSNorm(width // heads, eps=1e-6) for _ in range(2)] if qk_norm else []
        self.norms = nn.ModuleList(norms)

    def into(self, tokens: Tensor) -> list[Tensor]:
        batch, count, width = tokens.shape
        split = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        return [self.norms[0](q), self.norms[1](k), v] if len(self.norms) else [q, k, v]

    def out(self, values: Tensor) -> Tensor:
        assert self.mix is not None
        return self.mix(values.transpose(1, 2).flatten(2))


class _Stream(nn.Module):
    """What one of the two streams has of a block."""

    def __init__(self, width: int, heads: int, qk_norm: bool, dual: bool, silent: bool) -> None:
        super().__init__()
        self.silent = silent
        self.steer = _Steer(width, 2 if silent else 9 if dual else 6)
        self.attention = _Attention(width, heads, qk_norm, out=not silent)
        self.alone = _Attention(width, heads, qk_norm) if dual else None
        if not silent:
            self.feed = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
            )


class _Joint(nn.Module):
    """One attention over both streams; the text of the last block is only looked at."""

    def __init__(self, width: int, heads: int, qk_norm: bool, *, dual: bool, last: bool, told: bool) -> None:
        super().__init__()
        self.image = _Stream(width, heads, qk_norm, dual, silent=False)
        self.text = _Stream(width, heads, qk_norm, dual=False, silent=last) if told else None

    def forward(self, x: Tensor, text: Tensor | None, told: Tensor) -> tuple[Tensor, Tensor | None]:
        own = self.image.steer(told)
        seen = _normal(x)
        q, k, v = self.image.attention.into(seen * (1 + own[1]) + own[0])
        other: tuple[Tensor, ...] = ()
        if self.text is not None and text is not None:
            other = self.text.steer(told)
            scale, shift = (other[0], other[1]) if self.text.silent else (other[1], other[0])
            parts = self.text.attention.into(_normal(text) * (1 + scale) + shift)
            q, k, v = (torch.cat(pair, 2) for pair in zip((q, k, v), parts, strict=True))
        mixed = attend(q, k, v)
        count = x.shape[1]
        x = x + own[2] * self.image.attention.out(mixed[:, :, :count])
        if self.image.alone is not None:
            alone = self.image.alone
            x = x + own[8] * alone.out(attend(*alone.into(seen * (1 + own[7]) + own[6])))
        x = x + own[5] * self.image.feed(_normal(x) * (1 + own[4]) + own[3])
        if self.text is None or text is None or self.text.silent:
            return x, text
        text = text + other[2] * self.text.attention.out(mixed[:, :, count:])
        return x, text + other[5] * self.text.feed(_normal(text) * (1 + other[4]) + other[3])


def _normal(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)
