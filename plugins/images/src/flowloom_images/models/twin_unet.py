"""Two U-Nets side by side: a narrow one for states, and a wide one for the velocities at them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models import TimeEmbedding
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_images.models.context import Context
from flowloom_images.models.image_spec import chosen, halved_image_shape
from flowloom_images.models.ladder import Place, ladder
from flowloom_images.models.unet import (
    AttentionBlock,
    Downsample,
    ResidualBlock,
    Stage,
    Upsample,
    _zeroed,
    group_norm,
)

__all__ = ["TwinUNet"]


class TwinUNet(nn.Module):
    r"""The network of hierarchical rectified flow (Zhang et al. 2502.17436, 2507.13350) on images.

    A law of velocities is a flow among velocities y, told the state x and its time. Two U-Nets of the ADM
    family walk in step: that of states has ``width / ratio`` channels and never sees y, so that it is asked
    once a state (`features`); every block of that of velocities (`head`) reads the map which the other one
    has at the same place, before the block, and both times:

    .. math:: h \leftarrow \mathrm{skip}(h) + \mathrm{conv}\big(\mathrm{conv}(h) + \mathrm{conv}'(h_x) +
              W e_\tau + W' e_t\big)

    with normalisation and SiLU before each convolution. The context is added and does not scale. The last
    convolutions of blocks, of attention and of the network start at zero. The authors' last block of the
    network of states, which nothing reads, is left out.

    ``width: 128`` with the other defaults is the authors' network of CIFAR-10 (44.81 M parameters with the
    block left out), ``attention: [16, 8]`` that of ImageNet-32 (46.21 M).

    Args:
        spec: of the data: images of real values.
        width: channels of the first level of the velocities' network.
        multipliers: channels of each level as multiples of it; each further level halves the image.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: heights of the image, in pixels, at which both attend.
        ratio: how much narrower the network of states is.
        head_width: channels of one attention head.
        dropout: inside residual blocks, in training.
        conditions: names of the conditions to read, all of the data's when None.

    Raises:
        IncompatibleError: the data are no images, or a level cannot be halved.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (16,),
        ratio: int = 4,
        head_width: int = 64,
        dropout: float = 0.0,
        conditions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, blocks=blocks, ratio=ratio, head_width=head_width)
        self.spec = spec
        if width % (2 * ratio) or blocks < 1 or not multipliers or min(multipliers) < 1:
            raise ValueError(
                "twin U-Nets need a width that twice the ratio divides, blocks >= 1 and multipliers >= 1; "
                f"got width {width}, ratio {ratio}, blocks {blocks}, multipliers {list(multipliers)}"
            )
        channels, height, _ = halved_image_shape(spec, "twin U-Net", len(multipliers))
        read, dim, narrow = chosen(spec, conditions), 4 * width, width // ratio
        self.conditional = any(c.role == "inform" for c in read.values())
        self.context, self.inner_time = Context(read, dim, features=width), TimeEmbedding(dim, width)
        down, up = ladder(multipliers, blocks, attention, height)
        deep = multipliers[-1]

        def beside(place: Place) -> Stage:
            """A stage of the network of states."""
            if place.resample == "down":
                return Stage(Downsample(place.out * narrow))
            block = ResidualBlock(place.into * narrow, place.out * narrow, dim, dropout, False, "")
            return Stage(block, *_after(place, narrow, head_width))

        self.stem_beside = nn.Conv2d(channels, narrow, 3, padding=1)
        self.down_beside = nn.ModuleList(beside(place) for place in down)
        self.middle_beside = Stage(
            ResidualBlock(deep * narrow, deep * narrow, dim, dropout, False, ""),
            AttentionBlock(deep * narrow, head_width, None),
            ResidualBlock(deep * narrow, deep * narrow, dim, dropout, False, ""),
        )
        self.up_beside = nn.ModuleList(beside(place) for place in up[:-1])  # no one reads the last

        def stage(place: Place) -> _TwinStage:
            """A stage of the network of velocities."""
            if place.resample == "down":
                return _TwinStage(None, Downsample(place.out * width))
            return _TwinStage(
                _TwinBlock(place.into * width, place.out * width, place.into * narrow, dim, dropout),
                *_after(place, width, head_width),
            )

        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(stage(place) for place in down)
        self.middle = Stage(
            ResidualBlock(deep * width, deep * width, dim, dropout, False, ""),
            AttentionBlock(deep * width, head_width, None),
            ResidualBlock(deep * width, deep * width, dim, dropout, False, ""),
        )
        self.up = nn.ModuleList(stage(place) for place in up)
        last = multipliers[0] * width
        self.norm, self.out = group_norm(last), _zeroed(nn.Conv2d(last, channels, 3, padding=1))

    def features(self, x: Tensor, t: Tensor, cond: Cond) -> dict[str, Tensor]:
        """What the velocities' network is told of states ``(batch, C, H, W)``.

        The map before every block, ``(batch, channels, height, width)`` each, by the number of its stage, and
        the embedding of time and conditions, ``(batch, 4 width)``, as ``context``.
        """
        context = F.silu(self.context(t, cond))
        hidden = self.stem_beside(x)
        skips, told = [hidden], {"context": context}
        for i, stage in enumerate(self.down_beside):
            if isinstance(stage, Stage) and not isinstance(stage[0], Downsample):
                told[str(i)] = hidden
            hidden = stage(hidden, context)
            skips.append(hidden)
        hidden = self.middle_beside(hidden, context)
        for i, above in enumerate((*self.up_beside, None), len(self.down_beside)):
            hidden = told[str(i)] = torch.cat([hidden, skips.pop()], 1)
            hidden = hidden if above is None else above(hidden, context)
        return told

    def head(self, y: Tensor, tau: Tensor, features: dict[str, Tensor]) -> Tensor:
        """The inner velocity at ``y`` ``(batch, C, H, W)``, at inner times ``tau`` ``(batch,)``."""
        context, inner = features["context"], F.silu(self.inner_time(tau))
        hidden = self.stem(y)
        skips = [hidden]
        for i, stage in enumerate(self.down):
            hidden = stage(hidden, features.get(str(i)), inner, context)
            skips.append(hidden)
        hidden = self.middle(hidden, inner)
        for i, stage in enumerate(self.up, len(self.down)):
            hidden = torch.cat([hidden, skips.pop()], 1)
            hidden = stage(hidden, features.get(str(i)), inner, context)
        answer: Tensor = self.out(F.silu(self.norm(hidden)))
        return answer

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """The mean velocity at states ``(batch, C, H, W)``: that of the inner flow at y = 0 and tau = 0."""
        return self.head(torch.zeros_like(x), x.new_zeros(len(x)), self.features(x, t, cond))


def _after(place: Place, width: int, head_width: int) -> list[nn.Module]:
    channels = place.out * width
    attention = [AttentionBlock(channels, head_width, None)] if place.attends else []
    return [*attention, *([Upsample(channels)] if place.resample == "up" else [])]


class _TwinStage(nn.Module):
    """A block that reads the map beside it, and what follows; without a block, a change of size."""

    def __init__(self, block: _TwinBlock | None, *rest: nn.Module) -> None:
        super().__init__()
        self.block, self.rest = block, nn.Sequential(*rest)

    def forward(self, x: Tensor, beside: Tensor | None, inner: Tensor, context: Tensor) -> Tensor:
        x = x if self.block is None else self.block(x, beside, inner, context)
        out: Tensor = self.rest(x)
        return out


class _TwinBlock(ResidualBlock):
    """A residual block to which a map and a context of the other network are added."""

    def __init__(self, into: int, out: int, beside: int, dim: int, dropout: float) -> None:
        super().__init__(into, out, dim, dropout, False, "")
        self.norm_beside = group_norm(beside)
        self.conv_beside = nn.Conv2d(beside, out, 3, padding=1)
        self.steer_beside = nn.Linear(dim, out)

    def forward(  # type: ignore[override]
        self, x: Tensor, beside: Tensor, inner: Tensor, context: Tensor
    ) -> Tensor:
        hidden = self.conv_in(F.silu(self.norm_in(x))) + self.conv_beside(F.silu(self.norm_beside(beside)))
        steer = self.steer(inner) + self.steer_beside(context)
        hidden = F.silu(self.norm_out(hidden + steer[:, :, None, None]))
        total: Tensor = self.skip(x) + self.conv_out(self.dropout(hidden))
        return total
