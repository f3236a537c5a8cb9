"""A transformer of images with one stack of velocity blocks for every piece of the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import attend, turn
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_fewstep.blockwise import BlockwiseModel
from flowloom_fewstep.plane_angles import plane_angles
from flowloom_fewstep.segments import Segments

__all__ = ["BlockwiseDiT"]


class BlockwiseDiT(BlockwiseModel):
    """The network of Park et al. (2510.21167), as in the authors' code.

    Tokens are patches with rotary positions of two dimensions, queries and keys have RMS norms. Trunk and R
    are steered by time and class, blocks also by the features of their own token, all through
    adaLN-Zero of low rank beside one modulation that their layers share. R reads the patches as the trunk
    does, and has modulations of its own.

    Args:
        spec: of the states, images of real values.
        segments: M.
        depth: layers of a block.
        trunk_depth: layers of the trunk.
        change_depth: layers of R.
        width: of the tokens.
        heads: of the attention.
        patch: width of a patch in pixels.
        rank: of the modulations.
        aligned_width: of the features that the pretrained network has.

    Raises:
        IncompatibleError: states are no images that patches divide.
    """

    grid: tuple[int, int]
    turned: int

    def __init__(
        self,
        spec: Spec,
        segments: int = 6,
        depth: int = 5,
        trunk_depth: int = 20,
        change_depth: int = 4,
        width: int = 1152,
        heads: int = 16,
        patch: int = 2,
        rank: int = 288,
        aligned_width: int = 768,
    ) -> None:
        super().__init__()
        require_sizes(patch=patch, width=width, heads=heads, rank=rank, aligned_width=aligned_width)
        if (
            spec.parts
            or spec.discrete
            or len(spec.shape) != 3
            or spec.shape[1] % patch
            or spec.shape[2] % patch
        ):
            raise IncompatibleError(
                f"blockwise-dit cuts images into patches of {patch}, not {spec.in_words()}"
            )
        if width % heads or (width // heads) % 4:
            raise ValueError(f"width over heads must be a multiple of 4, got {width} over {heads}")
        self.spec, self.pieces, self.patch = spec, Segments(segments), patch
        channels, height, breadth = spec.shape
        self.turned = width // heads // 2  # entries of a head that turn with either axis
        self.grid = (height // patch, breadth // patch)
        entries = channels * patch * patch
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(spec.conditions, width)
        self.read, self.into = nn.Linear(entries, width), nn.Linear(entries, width)
        self.shared = nn.ModuleList(_Layer(width, heads, width, rank) for _ in range(trunk_depth))
        self.rest = nn.ModuleList(_Layer(width, heads, width, None) for _ in range(change_depth))
        self.blocks = nn.ModuleList(
            nn.ModuleList(_Layer(width, heads, 2 * width, rank) for _ in range(depth))
            for _ in range(segments)
        )
        self.steer_trunk, self.steer_blocks = nn.Linear(width, 6 * width), nn.Linear(2 * width, 6 * width)
        self.head = nn.Sequential(
            nn.Linear(width, 2048),
            nn.SiLU(),
            nn.Linear(2048, 2048),
            nn.SiLU(),
            nn.Linear(2048, aligned_width),
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.steer, self.out = nn.Linear(2 * width, 2 * width), nn.Linear(width, entries)
        for layer in (self.steer_trunk, self.steer_blocks, self.steer, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def trunk(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """Features of every patch, ``(batch, patches, width)``."""
        told = self._told(t, cond)[:, None]
        tokens, shared = self.read(self._patches(x)), self.steer_trunk(F.silu(told))
        for layer in self.shared:
            tokens = layer(tokens, told, shared, plane_angles(self.grid, self.turned, x))
        return tokens

    def change(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """R of every patch."""
        told, tokens = self._told(t, cond)[:, None], self.read(self._patches(x)).detach()
        for layer in self.rest:
            tokens = layer(tokens, told, None, plane_angles(self.grid, self.turned, x))
        return tokens

    def block(self, number: int, x: Tensor, t: Tensor, features: Tensor, cond: Cond) -> Tensor:
        """One stack of layers, each token steered by its features."""
        tokens = self.into(self._patches(x))
        told = torch.cat([self._told(t, cond)[:, None].expand_as(features), features], -1)
        shared, stack = self.steer_blocks(F.silu(told)), self.blocks[number]
        assert isinstance(stack, nn.ModuleList)
        for layer in stack:
            tokens = layer(tokens, told, shared, plane_angles(self.grid, self.turned, x))
        shift, scale = self.steer(F.silu(told)).chunk(2, -1)
        return self._image(self.out(self.norm(tokens) * (1 + scale) + shift), x)

    def aligned(self, features: Tensor, width: int) -> Tensor:
        """Three layers, patch by patch."""
        out: Tensor = self.head(features)
        if out.shape[-1] != width:
            raise IncompatibleError(
                f"features are compared with {width} others; give model.aligned_width: {width}"
            )
        return out

    @property
    def remainder(self) -> nn.Module:
        """The layers of R."""
        return self.rest

    def _told(self, t: Tensor, cond: Cond) -> Tensor:
        return self.time(t) + self.condition(cond, len(t))

    def _patches(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)

    def _image(self, patches: Tensor, x: Tensor) -> Tensor:
        return F.fold(patches.transpose(1, 2), x.shape[-2:], self.patch, stride=self.patch)


class _Layer(nn.Module):
    """Attention and feed-forward with adaLN-Zero, of low rank where layers share one."""

    def __init__(self, width: int, heads: int, told: int, rank: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.first = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.second = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width // heads, eps=1e-6) for _ in "qk")
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        last = nn.Linear(rank or told, 6 * width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.steer = nn.Sequential(nn.SiLU(), *([nn.Linear(told, rank)] if rank else []), last)

    def forward(
        self, x: Tensor, told: Tensor, shared: Tensor | None, angles: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Tokens ``(batch, patches, width)``, steered by ``told`` ``(batch, 1 or patches, ...)``."""
        steer = self.steer(told) if shared is None else self.steer(told) + shared
        shift, scale, gate, shift_feed, scale_feed, gate_feed = steer.chunk(6, -1)
        inner = self.first(x) * (1 + scale) + shift
        q, k, v = self.qkv(inner).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (turn(norm(part), angles) for norm, part in zip(self.norms, (q, k), strict=True))
        x = x + gate * self.join(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_feed * self.feed(self.second(x) * (1 + scale_feed) + shift_feed)
