"""The U-Net of the ADM family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models.attention import attend
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_images.models.context import Context
from flowloom_images.models.image_spec import chosen, halved_image_shape
from flowloom_images.models.ladder import Place, ladder


class UNet(nn.Module):
    """The U-Net of Dhariwal and Nichol, "Diffusion Models Beat GANs" (2105.05233), on images ``(C, H, W)``.

    Residual blocks with group normalisation and SiLU, time and class entering by scale and shift,
    self-attention at chosen resolutions, skip connections from every block of the way down to its mirror
    on the way up. The last convolution of every residual block, every attention's output and the output
    of the network start at zero. Safe under ``torch.func.jvp``, ``torch.compile`` and bf16.

    Args:
        spec: of the data: images of real values.
        width: channels of the first level ("model channels").
        multipliers: channels of each level as multiples of ``width``; each level halves the image.
        blocks: residual blocks per level.
        attention: heights of the image, in pixels, at which self-attention follows a block.
        head_width: channels of one attention head.
        heads: number of heads instead, the same at every level.
        dropout: inside residual blocks, in training.
        scale_shift: scale and shift after normalisation; otherwise the context is only added.
        resample_blocks: resample inside residual blocks; otherwise by a plain convolution.
        middle_attention: attend in the middle of the network, whatever ``attention`` says.
        out_channels: channels of the output; those of the input when None.
        conditions: names of the conditions to read, all of the data's when None; ``[]`` for an unconditional
            network on data that have classes.

    Raises:
        IncompatibleError: the data are no images, or a level cannot be halved.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16, 8),
        head_width: int = 64,
        heads: int | None = None,
        dropout: float = 0.0,
        scale_shift: bool = True,
        resample_blocks: bool = True,
        middle_attention: bool = True,
        out_channels: int | None = None,
        conditions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, blocks=blocks, head_width=head_width, heads=heads)
        self.spec = spec
        if width < 2 or width % 2 or blocks < 1 or not multipliers or min(multipliers) < 1:
            raise ValueError(
                f"a U-Net needs an even width, blocks >= 1 and multipliers >= 1; "
                f"got width {width}, blocks {blocks}, multipliers {list(multipliers)}"
            )
        channels_in, height, _ = halved_image_shape(spec, "U-Net", len(multipliers))
        dim = 4 * width
        read = chosen(spec, conditions)
        self.conditional = any(c.role == "inform" for c in read.values())
        self.context = Context(read, dim, features=width)

        def block(c_in: int, c_out: int, resample: str = "") -> ResidualBlock:
            return ResidualBlock(c_in, c_out, dim, dropout, scale_shift, resample)

        def resized(channels: int, how: str) -> nn.Module:
            if resample_blocks:
                return block(channels, channels, how)
            return Downsample(channels) if how == "down" else Upsample(channels)

        def stage(place: Place) -> Stage:
            out = place.out * width
            if place.resample == "down":
                return Stage(resized(out, "down"))
            parts: list[nn.Module] = [block(place.into * width, out)]
            if place.attends:
                parts.append(AttentionBlock(out, head_width, heads))
            if place.resample == "up":
                parts.append(resized(out, "up"))
            return Stage(*parts)

        self.stem = nn.Conv2d(channels_in, width, 3, padding=1)
        down, up = ladder(multipliers, blocks, attention, height)
        self.down = nn.ModuleList(stage(place) for place in down)
        channels = multipliers[-1] * width
        middle = [AttentionBlock(channels, head_width, heads)] if middle_attention else []
        self.middle = Stage(block(channels, channels), *middle, block(channels, channels))
        self.up = nn.ModuleList(stage(place) for place in up)
        channels = multipliers[0] * width
        self.norm = group_norm(channels)
        self.head = _zeroed(nn.Conv2d(channels, out_channels or channels_in, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Images ``(batch, C, H, W)`` at times ``(batch,)`` to ``(batch, out_channels, H, W)``."""
        context = F.silu(self.context(t, cond))
        hidden = self.stem(x)
        skips = [hidden]
        for stage in self.down:
            hidden = stage(hidden, context)
            skips.append(hidden)
        hidden = self.middle(hidden, context)
        for stage in self.up:
            hidden = stage(torch.cat([hidden, skips.pop()], 1), context)
        return self.head(F.silu(self.norm(hidden)))


class Stage(nn.ModuleList):
    """Modules in a row, of which residual blocks also see the context."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(parts)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Run ``x`` through all of them."""
        for part in self:
            x = part(x, context) if isinstance(part, ResidualBlock) else part(x)
        return x


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity, steered by a context vector.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        dim: size of the context.
        dropout: before the second convolution.
        scale_shift: scale and shift after the second normalisation; otherwise add.
        resample: ``"up"`` or ``"down"`` to double or halve the image inside, ``""`` for neither.
    """

    def __init__(
        self, channels_in: int, channels_out: int, dim: int, dropout: float, scale_shift: bool, resample: str
    ) -> None:
        super().__init__()
        self.resample, self.scale_shift = resample, scale_shift
        self.norm_in, self.norm_out = group_norm(channels_in), group_norm(channels_out)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.steer = nn.Linear(dim, 2 * channels_out if scale_shift else channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Images ``(batch, channels_in, H, W)`` and contexts ``(batch, dim)``."""
        hidden = self.conv_in(_resample(F.silu(self.norm_in(x)), self.resample))
        steer = self.steer(context)[:, :, None, None]
        if self.scale_shift:
            scale, shift = steer.chunk(2, 1)
            hidden = torch.addcmul(shift, self.norm_out(hidden), 1 + scale)
        else:
            hidden = self.norm_out(hidden + steer)
        return self.skip(_resample(x, self.resample)) + self.conv_out(self.dropout(F.silu(hidden)))


class AttentionBlock(nn.Module):
    """Self-attention over all pixels beside an identity.

    Args:
        channels: of input and output.
        head_width: channels of one head; narrower levels have a single head.
        heads: number of heads instead.
    """

    def __init__(self, channels: int, head_width: int, heads: int | None) -> None:
        super().__init__()
        self.heads = heads or max(1, channels // head_width)
        if channels % self.heads:
            raise ValueError(
                f"{channels} channels do not divide into {self.heads} attention heads; "
                "choose width, head_width or heads so that they do"
            )
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, H, W)``."""
        batch, channels, height, breadth = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * breadth)
        q, k, v = qkv.transpose(-2, -1).unbind(1)
        mixed = attend(q, k, v).transpose(-2, -1).reshape(batch, channels, height, breadth)
        return x + self.out(mixed)


class Downsample(nn.Conv2d):
    """Halve the image by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)


class Upsample(nn.Module):
    """Double the image by repeating pixels, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, H, W)`` to ``(batch, channels, 2H, 2W)``."""
        return self.conv(_resample(x, "up"))


def _resample(x: Tensor, way: str) -> Tensor:
    if way == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2) if way == "down" else x


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation of so many channels, in 32 groups where each then has four channels at least."""
    # 32 groups as in the paper, fewer where they would hold under four channels.
    groups = min(32, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
