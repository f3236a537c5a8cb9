"""Flow++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom_likelihood.bijections import ActNorm, Bijection, Chain, Squeeze
from flowloom_likelihood.bijections.gated_net import GatedNet
from flowloom_likelihood.bijections.halves import Split
from flowloom_likelihood.bijections.mixture_coupling import HalfMixing, MixtureCoupling
from flowloom_likelihood.models.composed import Composed
from flowloom_likelihood.models.started import Started

Layer = Literal["checkerboard", "channels", "squeeze"]
CIFAR: tuple[Layer, ...] = (
    *("checkerboard", "checkerboard", "checkerboard", "checkerboard", "squeeze"),
    *("channels", "channels", "checkerboard", "checkerboard", "checkerboard"),
)
"""The paper's couplings on CIFAR-10."""


class FlowPlusPlus(Started, Composed):
    """Flow++: normalisation, mixing, and mixture couplings told by convolution and attention (1902.00275).

    Every coupling stands behind a normalisation of all entries and a matrix of the channels of each half.
    Latents have the shape of the images and are standard normal. The dequantiser that belongs to the method
    is a part of the objective (`FlowDequantizer`); the logits that come first are those of the codec.

    Args:
        spec: images ``(C, H, W)``; injected from the recipe.
        layout: couplings between halves, and ``squeeze``, from data to noise.
        filters: channels of the networks.
        blocks: of a network.
        components: of the mixtures; 0 for affine couplings.
        heads: of the attention; 0 for convolutions alone.
        dropout: probability.
        first_rows: training rows whose statistics it starts at.

    Raises:
        ShapeError: the states are no such images.
    """

    # Determinants and bisections want single precision, and bisections have no forward-mode derivative.
    bf16_safe = False
    jvp_safe = False

    def __init__(
        self,
        spec: Spec,
        layout: Sequence[Layer] = CIFAR,
        filters: int = 96,
        blocks: int = 10,
        components: int = 32,
        heads: int = 4,
        dropout: float = 0.2,
        first_rows: int = 128,
    ) -> None:
        super().__init__()
        require_images(spec, "flow-plus-plus")
        self.spec, self.first_rows = spec, first_rows
        channels, height, width = spec.shape
        links: list[Bijection] = []
        squeezed = alike = 0
        for number, layer in enumerate(layout):
            if layer == "squeeze":
                if height % 2 or width % 2:
                    raise ShapeError(f"flow-plus-plus squeezes even sides, got {height} x {width}")
                channels, height, width = 4 * channels, height // 2, width // 2
                squeezed += 1
                links.append(Squeeze())
                continue
            alike = alike + 1 if number and layout[number - 1] == layer else 0
            shape = (channels, height, width)
            links += coupled(shape, layer, alike % 2 == 1, filters, blocks, components, heads, dropout)
        self.net = Chain([*links, *(Squeeze(undo=True) for _ in range(squeezed))])


def coupled(
    shape: tuple[int, int, int],
    split: Split,
    flip: bool,
    filters: int,
    blocks: int,
    components: int,
    heads: int,
    dropout: float,
    context: int = 0,
) -> list[Bijection]:
    """One coupling of Flow++ behind its normalisation and its mixing.

    Args:
        shape: ``(C, H, W)`` of what is coupled.
        split: into halves.
        flip: which half moves.
        filters: channels of the network.
        blocks: of the network.
        components: of the mixture.
        heads: of the attention.
        dropout: probability.
        context: channels of what the network is told besides.

    Raises:
        ShapeError: it has no such halves.
    """
    channels, height, width = shape
    if (width if split == "checkerboard" else channels) % 2:
        raise ShapeError(f"flow-plus-plus: images of {shape} have no halves by {split}")
    half = (channels, height, width // 2) if split == "checkerboard" else (channels // 2, height, width)
    outputs = half[0] * (2 + 3 * components)
    net = GatedNet(half, outputs, filters, blocks, heads, context, dropout)
    return [
        ActNorm(channels, (height, width)),
        HalfMixing(half[0], split),
        MixtureCoupling(net, split, components, flip),
    ]


def require_images(spec: Spec, who: str) -> None:
    """Raise where states are no real-valued images."""
    if len(spec.shape) != 3 or spec.discrete or spec.parts:
        raise ShapeError(f"{who} takes real-valued images (C, H, W), and states are of shape {spec.shape}")
