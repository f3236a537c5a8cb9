"""Glow."""

from __future__ import annotations

from typing import Literal

from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom_likelihood.bijections import (
    ActNorm,
    Bijection,
    Chain,
    Coupling,
    FactorOut,
    InvertibleConv,
    Prior,
    Reorder,
    Squeeze,
)
from flowloom_likelihood.models.composed import Composed
from flowloom_likelihood.models.started import Started

Mixing = Literal["conv", "shuffle", "reverse"]


class Glow(Started, Composed):
    """Generative flow with invertible 1x1 convolutions (Kingma and Dhariwal, 1807.03039).

    A level squeezes, takes ``steps`` steps of flow (activation normalisation, mixing of channels, coupling)
    and lets half of the channels go to a prior that the other half conditions; the last level ends at a
    learned prior. The latent has the shape of the image and is standard normal.

    Args:
        spec: images ``(C, H, W)``, sides divisible by ``2 ** levels``; injected from the recipe.
        levels: L.
        steps: K, steps of flow a level.
        width: channels of the coupling networks.
        mixing: of channels: a learned 1x1 convolution, or the fixed orders that it replaces (``reverse`` is
            that of RealNVP).
        coupling: ``affine`` or ``additive``.
        conditional: whether the last prior knows the conditions (the class).
        first_rows: training rows whose statistics the normalisation starts at.

    Raises:
        ShapeError: the states are no such images.
    """

    # Triangular solves do not exist in half precision.
    bf16_safe = False

    def __init__(
        self,
        spec: Spec,
        levels: int = 3,
        steps: int = 32,
        width: int = 512,
        mixing: Mixing = "conv",
        coupling: Literal["affine", "additive"] = "affine",
        conditional: bool = False,
        first_rows: int = 512,
    ) -> None:
        super().__init__()
        if len(spec.shape) != 3 or spec.discrete or spec.parts:
            raise ShapeError(f"glow takes real-valued images (C, H, W), and states are of shape {spec.shape}")
        if any(side % 2**levels for side in spec.shape[1:]):
            raise ShapeError(
                f"glow of {levels} levels takes sides divisible by {2**levels}, got {spec.shape}"
            )
        if min(levels, steps, width, first_rows) < 1:
            raise ValueError("levels, steps, width and first_rows must be at least 1")
        if mixing not in ("conv", "shuffle", "reverse"):
            raise ValueError(f"mixing is conv, shuffle or reverse, got {mixing!r}")
        self.spec, self.first_rows, self.conditional = spec, first_rows, conditional

        def step(channels: int) -> Bijection:
            mixer = InvertibleConv(channels) if mixing == "conv" else Reorder(channels, mixing)
            return Chain([ActNorm(channels), mixer, Coupling(channels, width, coupling)])

        def level(number: int, channels: int) -> Bijection:
            flow = [step(4 * channels) for _ in range(steps)]
            end: Bijection
            if number < levels:
                end = FactorOut(4 * channels, level(number + 1, 2 * channels))
            else:
                end = Prior(4 * channels, spec.conditions if conditional else None)
            return Chain([Squeeze(), *flow, end, Squeeze(undo=True)])

        self.net = level(1, spec.shape[0])
