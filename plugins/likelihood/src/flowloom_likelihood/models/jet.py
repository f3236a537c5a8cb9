"""Jet: a coupling flow of vision transformers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import ShapeError
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_likelihood.bijections import Chain, Image
from flowloom_likelihood.bijections.patch_coupling import SPATIAL, GridNet, PatchCoupling, TokenNet
from flowloom_likelihood.models.started import Started


class Jet(Started):
    """Jet: one stack of couplings between patches, every one a vision transformer (2412.15129).

    No scales, no normalisation layers, no learned mixing of channels, no learned prior. Both ways cost one
    transformer a coupling. Latents have the shape of the images and are standard normal.

    Args:
        spec: images ``(C, H, W)`` of whole patches; injected from the recipe.
        patch: side of a patch; its ``C patch^2`` numbers are a token.
        couplings: N.
        depth: transformer blocks of a coupling.
        width: of the transformer, or channels of the convolutions.
        heads: of its attention.
        spatial_every: every so-many-th coupling splits places and not channels: colours of a checkerboard,
            then columns, then rows, each both ways; 0 for none.
        network: ``vit``, or Glow's convolutions (``conv``) to compare with; those split channels only.
        shuffled: lay the patches out in one fixed random order first, which takes away the locality that
            convolutions assume.

    Raises:
        ShapeError: the states are no such images.
    """

    def __init__(
        self,
        spec: Spec,
        patch: int = 4,
        couplings: int = 64,
        depth: int = 5,
        width: int = 512,
        heads: int = 8,
        spatial_every: int = 5,
        network: Literal["vit", "conv"] = "vit",
        shuffled: bool = False,
    ) -> None:
        super().__init__()
        if len(spec.shape) != 3 or spec.discrete or spec.parts:
            raise ShapeError(f"jet takes real-valued images (C, H, W), and states are of shape {spec.shape}")
        require_sizes(patch=patch, couplings=couplings, depth=depth, width=width, heads=heads)
        channels, height, width_px = spec.shape
        if height % patch or width_px % patch or (channels * patch**2) % 2:
            raise ShapeError(f"jet takes sides divisible by patch {patch}, even patches, got {spec.shape}")
        if network not in ("vit", "conv") or width % heads:
            raise ValueError("network is vit or conv, and heads divide width")
        if network == "conv" and spatial_every:
            raise ValueError("network: conv splits channels only; set spatial_every: 0")
        grid = height // patch, width_px // patch
        size, tokens = channels * patch**2, grid[0] * grid[1]
        if min(couplings, depth, width, heads) < 1 or spatial_every < 0:
            raise ValueError("couplings, depth, width and heads count from 1, spatial_every from 0")
        if spatial_every and (grid[0] % 2 or grid[1] % 2):
            raise ShapeError(
                f"{grid[0]} x {grid[1]} patches have no equal halves of rows and columns; "
                "set spatial_every: 0"
            )
        self.spec, self.patch = spec, patch
        self.register_buffer("layout", torch.randperm(tokens) if shuffled else torch.arange(tokens))

        def coupling(number: int) -> PatchCoupling:
            net: nn.Module = (
                TokenNet(tokens, size // 2, size, width, depth, heads)
                if network == "vit"
                else GridNet(grid, size // 2, size, width)
            )
            if spatial_every and number % spatial_every == spatial_every - 1:
                nth = number // spatial_every
                return PatchCoupling(net, SPATIAL[nth // 2 % 3], grid, size, flip=nth % 2 == 1)
            return PatchCoupling(net, "channels", grid, size, flip=number % 2 == 1)

        self.net = Chain([coupling(number) for number in range(couplings)])

    layout: Tensor

    def _tokens(self, x: Tensor) -> Tensor:
        cut = nn.functional.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        return cut[:, self.layout]

    def _images(self, tokens: Tensor) -> Tensor:
        grid = [side // self.patch for side in self.spec.shape[1:]]
        laid = tokens[:, self.layout.argsort()].transpose(1, 2).unflatten(2, grid)
        return nn.functional.pixel_shuffle(laid, self.patch)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Images to latents of the same shape."""
        z, log_det = self.net.transform(self._tokens(x), cond)
        return self._images(z), log_det

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Latents to images."""
        return self._images(self.net.inverse(self._tokens(z), cond))

    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Only convolutions have something to start."""
        return self._images(self.net.initialise(self._tokens(x), cond))
