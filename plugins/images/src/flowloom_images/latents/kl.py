"""The KL autoencoder of latent diffusion models."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_images.latents.base import Autoencoder, Posterior
from flowloom_images.models.image_spec import halved_image_shape
from flowloom_images.models.unet import AttentionBlock, Upsample, group_norm


class KLAutoencoder(Autoencoder):
    """The autoencoder of Rombach et al. (2112.10752, appendix G) on images ``(C, H, W)``.

    Residual blocks on every level, each level halving the image, attention of one head in the middle, and
    the mirror of it on the way back with one block more a level. At the defaults it is that of Stable
    Diffusion, 8 times smaller sides and 4 channels (83.7 million parameters on RGB).

    Args:
        spec: of the data: images of real values.
        width: channels of the first level.
        multipliers: channels of each level as multiples of ``width``; each but the last halves the image.
        blocks: residual blocks a level in the encoder.
        channels: of the latent.
        attention: whether the middle attends.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        blocks: int = 2,
        channels: int = 4,
        attention: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(width=width, blocks=blocks, channels=channels)
        if not multipliers or min(multipliers) < 1:
            raise ValueError(f"multipliers are at least 1 each, got {list(multipliers)}")
        self.spec = spec
        image, height, breadth = halved_image_shape(spec, "KL autoencoder", len(multipliers))
        factor = 2 ** (len(multipliers) - 1)
        self.latent = (channels, height // factor, breadth // factor)
        sizes = [width * multiple for multiple in multipliers]
        top = sizes[-1]
        down: list[nn.Module] = [nn.Conv2d(image, width, 3, padding=1)]
        last = width
        for level, size in enumerate(sizes):
            for _ in range(blocks):
                down.append(Block(last, size))
                last = size
            if level < len(sizes) - 1:
                down.append(Halve(size))
        self.encoder = nn.Sequential(
            *down,
            *_middle(top, attention),
            group_norm(top),
            nn.SiLU(),
            nn.Conv2d(top, 2 * channels, 3, padding=1),
            nn.Conv2d(2 * channels, 2 * channels, 1),
        )
        up: list[nn.Module] = []
        for level, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks + 1):
                up.append(Block(last, size))
                last = size
            if level:
                up.append(Upsample(size))
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, top, 3, padding=1),
            *_middle(top, attention),
            *up,
            group_norm(width * multipliers[0]),
            nn.SiLU(),
            nn.Conv2d(width * multipliers[0], image, 3, padding=1),
        )

    def posterior(self, x: Tensor) -> Posterior:
        """The law of the latents of images ``(batch, C, H, W)``."""
        mean, log_var = self.encoder(x).chunk(2, 1)
        return Posterior(mean, log_var.clamp(-30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents ``(batch, channels, h, w)``."""
        images: Tensor = self.decoder(z)
        return images


class Block(nn.Module):
    """Two convolutions beside an identity, or beside a convolution of one pixel where channels change."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = group_norm(channels_in), group_norm(channels_out)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv_out = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels_in, H, W)``."""
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        out: Tensor = self.skip(x) + self.conv_out(F.silu(self.norm_out(hidden)))
        return out


class Halve(nn.Conv2d):
    """Halve the image by a strided convolution, padded at its lower right."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, H, W)``."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


def _middle(channels: int, attention: bool) -> list[nn.Module]:
    attends = [AttentionBlock(channels, channels, 1)] if attention else []
    return [Block(channels, channels), *attends, Block(channels, channels)]
