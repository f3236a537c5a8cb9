"""Views of images ``(C, H, W)``: augmentations, degradations and holes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.views import View
from flowloom.views.base import plus

__all__ = ["Blur", "Crop", "Flip", "Hole", "Resize"]


class Flip(View):
    """Mirrors images left to right with a probability: twice the data where left and right mean the same.

    Args:
        probability: of the mirror image.
    """

    augments: ClassVar[bool] = True

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")
        self.probability = probability

    def spec(self, spec: Spec) -> Spec:
        """As it was."""
        _size(spec, "flip")
        _require_unmarked(spec, "flip")
        return spec

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Some rows mirrored."""
        x = _images(examples)
        mirrored = torch.rand(len(x), generator=generator) < self.probability
        return Examples(torch.where(mirrored[:, None, None, None], x.flip(-1), x), examples.cond)


class Crop(View):
    """Shifts images by a few pixels: a random part of their size, of their reflection-padded selves.

    Args:
        padding: pixels at every side, and the largest shift.
    """

    augments: ClassVar[bool] = True

    def __init__(self, padding: int = 4) -> None:
        if padding < 1:
            raise ValueError(f"padding must be at least 1 pixel, got {padding}")
        self.padding = padding

    def spec(self, spec: Spec) -> Spec:
        """As it was."""
        if min(_size(spec, "crop")) <= self.padding:
            raise IncompatibleError(f"view crop: padding {self.padding} takes images larger than that")
        _require_unmarked(spec, "crop")
        return spec

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Every row shifted."""
        x = _images(examples)
        n, _, height, width = x.shape
        padded = functional.pad(x, (self.padding,) * 4, mode="reflect")
        shifts = torch.randint(2 * self.padding + 1, (2, n, 1), generator=generator)
        down, right = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
        rows = torch.arange(n)[:, None, None]
        # Indexing beside a slice puts the channels last.
        cropped = padded[rows, :, down[:, :, None], right[:, None, :]].movedim(-1, 1)
        return Examples(cropped.contiguous(), examples.cond)


class Blur(View):
    r"""Tells the network a blurred image, perhaps with noise on it: deblurring, super-resolution by its blur.

    :math:`y = G_\sigma * x + s\varepsilon` with a normalised Gaussian kernel out to :math:`3\sigma`,
    reflected at the border; :math:`\sigma \sim U[\mathrm{least}, \mathrm{width}]` pixels, drawn for every
    row.

    Args:
        width: standard deviation of the kernel in pixels, the largest one.
        least: the smallest one; ``width`` where None.
        noise: standard deviation s of the noise, in units of the images.
        name: of the condition.
    """

    def __init__(
        self, width: float = 1.5, least: float | None = None, noise: float = 0.05, name: str = "observed"
    ) -> None:
        low = width if least is None else least
        if not 0 < low <= width or noise < 0:
            raise ValueError(f"blur takes 0 < least <= width and noise >= 0, got {low}, {width} and {noise}")
        self.width, self.least, self.noise, self.name = width, low, noise, name

    def spec(self, spec: Spec) -> Spec:
        """With the observation."""
        if min(_size(spec, "blur")) <= self._reach:
            raise IncompatibleError(f"view blur: a kernel of {self._reach} pixels a side takes larger images")
        return plus(spec, "blur", **{self.name: Condition(shape=spec.shape)})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same images, with a blurred one beside each."""
        x = _images(examples)
        width = self.least + (self.width - self.least) * torch.rand(len(x), generator=generator)
        seen = self._along(self._along(x, width, 2), width, 3)
        seen = seen + self.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return Examples(x, {**examples.cond, self.name: seen})

    @property
    def _reach(self) -> int:
        return math.ceil(3 * self.width)

    def _along(self, x: Tensor, width: Tensor, axis: int) -> Tensor:
        """Every row convolved with its own kernel along one axis."""
        reach = self._reach
        places = torch.arange(-reach, reach + 1, dtype=x.dtype)
        kernel = torch.exp(-(places**2) / (2 * width.to(x.dtype)[:, None] ** 2))
        kernel = kernel / kernel.sum(1, keepdim=True)
        sides = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        windows = functional.pad(x, sides, mode="reflect").unfold(axis, 2 * reach + 1, 1)
        return torch.einsum("nchwk,nk->nchw", windows, kernel)


class Hole(View):
    """Gives all of an image but a random rectangle: in-painting.

    Args:
        least: smallest side of the hole, as a share of the image's.
        most: largest side.
        name: of the condition that marks given pixels; their values are ``<name>_values``.
    """

    def __init__(self, least: float = 0.3, most: float = 0.6, name: str = "given") -> None:
        if not 0 < least <= most <= 1:
            raise ValueError(f"sides of a hole are shares, 0 < least <= most <= 1; got {least} and {most}")
        self.least, self.most, self.name = least, most, name

    def spec(self, spec: Spec) -> Spec:
        """With the two conditions."""
        _size(spec, "hole")
        marks, values = (Condition(shape=spec.shape, role=role) for role in ("given", "values"))
        return plus(spec, "hole", **{self.name: marks, f"{self.name}_values": values})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same images, with what is given of them."""
        x = _images(examples)
        down, right = (self._side(len(x), size, generator) for size in x.shape[2:])
        given = ~(down[:, None, :, None] & right[:, None, None, :]).expand(x.shape)
        values = torch.where(given, x, torch.zeros((), dtype=x.dtype))
        return Examples(x, {**examples.cond, self.name: given, f"{self.name}_values": values})

    def _side(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """Which pixels along a side the hole covers: ``(n, size)``."""
        share = self.least + (self.most - self.least) * torch.rand(n, generator=generator)
        length = (share * size).round().clamp(1, size)
        start = (torch.rand(n, generator=generator) * (size - length + 1)).floor()
        places = torch.arange(size)
        return (places >= start[:, None]) & (places < (start + length)[:, None])


class Resize(View):
    """Images of another size, by bicubic interpolation (antialiased where they shrink), within the
    brightness that each had.

    Args:
        size: of the new images: of both sides, or ``[height, width]``.
    """

    random: ClassVar[bool] = False

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if min(self.size) < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")

    def spec(self, spec: Spec) -> Spec:
        """Of the new size."""
        _size(spec, "resize")
        _require_unmarked(spec, "resize")
        return replace(spec, shape=(spec.shape[0], *self.size))

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Every row resized."""
        x = _images(examples)
        resized = functional.interpolate(x, self.size, mode="bicubic", antialias=True)
        # Cubic kernels overshoot at edges.
        return Examples(resized.clamp(x.amin((1, 2, 3), True), x.amax((1, 2, 3), True)), examples.cond)


def _size(spec: Spec, who: str) -> tuple[int, int]:
    if spec.parts or len(spec.shape) != 3 or spec.vocab is not None:
        what = "a product" if spec.parts else f"of shape {tuple(spec.shape)}"
        raise IncompatibleError(f"view {who} is of images (C, H, W); the state here is {what}")
    return spec.shape[1], spec.shape[2]


def _require_unmarked(spec: Spec, who: str) -> None:
    for name, condition in spec.conditions.items():
        if condition.role not in ("inform", "setting") or len(condition.shape) == 3:
            raise IncompatibleError(
                f"view {who} moves pixels, and condition '{name}' ({condition.role}) is of their places; "
                "put the view before the one that makes it"
            )


def _images(examples: Examples) -> Tensor:
    assert isinstance(examples.x, Tensor)
    return examples.x
