"""The U-Net DDPM++, as EDM and its followers train it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.spec import Spec
from flowloom_images.models.context import Context
from flowloom_images.models.image_spec import chosen, halved_image_shape
from flowloom_images.models.ladder import ladder
from flowloom_images.models.unet import AttentionBlock, _resample, _zeroed, group_norm


class DDPMPlusPlus(nn.Module):
    r"""DDPM++ of Song et al. (2011.13456) with the settings of Karras et al. (2206.00364), on ``(C, H, W)``.

    It differs from the U-Net of the ADM family: every sum with a skip is divided by :math:`\sqrt 2`, the
    context is added and does not scale, blocks that resample have a 1 x 1 convolution in their skip,
    attention has one head, and on the way up only the last block of a level attends. The last convolution of
    every block and every attention's output start at zero. Labels of augmentation are not read.

    Args:
        spec: of the data: images of real values.
        width: channels that ``multipliers`` multiply.
        multipliers: channels of each level; each further level halves the image.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: heights of the image, in pixels, at which blocks attend.
        dropout: inside residual blocks, in training.
        conditions: names of the conditions to read, all of the data's when None; ``[]`` for an unconditional
            network on data that have classes.

    Raises:
        IncompatibleError: the data are no images, or a level cannot be halved.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        multipliers: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        dropout: float = 0.0,
        conditions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        if width < 2 or width % 2 or blocks < 1 or not multipliers or min(multipliers) < 1:
            raise ValueError(
                f"DDPM++ needs an even width, blocks >= 1 and multipliers >= 1; "
                f"got width {width}, blocks {blocks}, multipliers {list(multipliers)}"
            )
        channels_in, height, _ = halved_image_shape(spec, "DDPM++", len(multipliers))
        dim = 4 * width
        read = chosen(spec, conditions)
        self.conditional = any(c.role == "inform" for c in read.values())
        self.context = Context(read, dim, features=width)

        def block(c_in: int, c_out: int, attends: bool = False, resample: str = "") -> Block:
            return Block(c_in, c_out, dim, dropout, attends, resample)

        self.stem = nn.Conv2d(channels_in, width, 3, padding=1)
        down, up = ladder(multipliers, blocks, attention, height)
        self.down = nn.ModuleList(
            block(place.into * width, place.out * width, place.attends, place.resample) for place in down
        )
        channels = multipliers[-1] * width
        self.middle = nn.ModuleList([block(channels, channels, True), block(channels, channels)])
        self.up = nn.ModuleList()
        for place in up:
            channels = place.out * width
            self.up.append(block(place.into * width, channels, place.last and place.attends))
            if place.resample:
                self.up.append(block(channels, channels, resample=place.resample))
        self.norm = group_norm(channels)
        self.head = _zeroed(nn.Conv2d(channels, channels_in, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to images of the same shape."""
        context = F.silu(self.context(t, cond))
        hidden = self.stem(x)
        skips = [hidden]
        for block in self.down:
            hidden = block(hidden, context)
            skips.append(hidden)
        for block in self.middle:
            hidden = block(hidden, context)
        for block in self.up:
            if not block.resample:
                hidden = torch.cat([hidden, skips.pop()], 1)
            hidden = block(hidden, context)
        answer: Tensor = self.head(F.silu(self.norm(hidden)))
        return answer


class Block(nn.Module):
    """Two convolutions beside a skip, then perhaps attention; sums keep their variance.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        dim: size of the context.
        dropout: before the second convolution.
        attends: whether attention follows.
        resample: ``"up"`` or ``"down"`` to double or halve the image inside, ``""`` for neither.
    """

    def __init__(
        self, channels_in: int, channels_out: int, dim: int, dropout: float, attends: bool, resample: str
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm_in, self.norm_out = group_norm(channels_in), group_norm(channels_out)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.steer = nn.Linear(dim, channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        plain = channels_in == channels_out and not resample
        self.skip = nn.Identity() if plain else nn.Conv2d(channels_in, channels_out, 1)
        self.attention = AttentionBlock(channels_out, channels_out, 1) if attends else None

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Images ``(batch, channels_in, H, W)`` and contexts ``(batch, dim)``."""
        hidden = self.conv_in(_resample(F.silu(self.norm_in(x)), self.resample))
        hidden = F.silu(self.norm_out(hidden + self.steer(context)[:, :, None, None]))
        total = self.skip(_resample(x, self.resample)) + self.conv_out(self.dropout(hidden))
        half = math.sqrt(0.5)
        return total * half if self.attention is None else self.attention(total * half) * half
