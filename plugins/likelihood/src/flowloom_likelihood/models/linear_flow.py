"""Flows of full linear layers."""

from __future__ import annotations

from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom_likelihood.bijections import Bijection, Chain, Squeeze
from flowloom_likelihood.bijections.full_conv import FullConv
from flowloom_likelihood.bijections.full_linear import FullLinear
from flowloom_likelihood.bijections.reshape import Flattened
from flowloom_likelihood.bijections.smooth_leaky import SmoothLeaky
from flowloom_likelihood.models.composed import Composed


class LinearFlow(Composed):
    """Full linear layers with smooth leaky ReLUs between them: the flows of EBFlow (2305.15267, section 5).

    Maximum likelihood needs a determinant of every layer, in time of the cube of the dimension;
    score matching (`SlicedScoreMatching` and its like) needs none, and afterwards one gives the density.

    Args:
        spec: of real-valued states; injected from the recipe.
        layers: linear ones.
        kernel: side of convolutions in place of full matrices; 0 for matrices.
        scales: with convolutions, in how many equal runs they stand, with a squeeze between two.
        alpha: left slope of the activations.
        residual: whether the activations add their input.
        start: layers start as this multiple of the identity; the authors' are -1 on MNIST.

    Raises:
        ShapeError: the states are no such tensors.
    """

    bf16_safe = False
    jvp_safe = False

    def __init__(
        self,
        spec: Spec,
        layers: int = 2,
        kernel: int = 0,
        scales: int = 1,
        alpha: float = 0.3,
        residual: bool = False,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        if spec.discrete or spec.parts:
            raise ShapeError("linear-flow takes one tensor of real values")
        if layers < 1 or scales < 1 or layers % scales:
            raise ValueError(f"layers counts from 1 in {scales} equal runs, got {layers}")
        self.spec = spec
        if kernel == 0:
            made: list[Bijection] = [FullLinear(spec.numel(), start=start) for _ in range(layers)]
            self.net = Flattened(Chain(_bent(made, alpha, residual)))
            return
        if len(spec.shape) != 3 or any(side % 2 ** (scales - 1) for side in spec.shape[1:]):
            raise ShapeError(
                f"convolutions on {scales} scales take images (C, H, W) of sides divisible by "
                f"{2 ** (scales - 1)}, and states are of shape {spec.shape}"
            )
        run = layers // scales
        convs: list[Bijection] = [
            FullConv(spec.shape[0] * 4 ** (number // run), kernel, start) for number in range(layers)
        ]
        bent = _bent(convs, alpha, residual)
        for scale in range(scales - 1, 0, -1):
            bent.insert(2 * run * scale, Squeeze())
        self.net = Chain([*bent, *(Squeeze(undo=True) for _ in range(scales - 1))])


def _bent(linear: list[Bijection], alpha: float, residual: bool) -> list[Bijection]:
    """An activation between every two."""
    links: list[Bijection] = []
    for number, layer in enumerate(linear):
        links += [layer] if number == 0 else [SmoothLeaky(alpha, residual), layer]
    return links
