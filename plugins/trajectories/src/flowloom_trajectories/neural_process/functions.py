"""Functions seen at some places and asked at others, each row with numbers of its own."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Drawn, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Condition, Spec

__all__ = ["Functions", "PixelFunctions", "kernel_matrix"]

Kernel = Literal["rbf", "matern", "periodic"]
Range = tuple[int, int]


def kernel_matrix(kernel: Kernel, x: Tensor, lengthscale: Tensor, scale: Tensor) -> Tensor:
    """Covariances ``(n, m, m)`` of functions at places ``(n, m)``.

    Args:
        kernel: squared exponential, Matern 5/2, or periodic of period 1.
        x: places.
        lengthscale: ``(n,)``.
        scale: standard deviation of the function, ``(n,)``.
    """
    gaps, size = (x[:, :, None] - x[:, None]).abs(), lengthscale[:, None, None]
    if kernel == "rbf":
        shape = (-0.5 * (gaps / size).square()).exp()
    elif kernel == "matern":
        r = 5**0.5 * gaps / size
        shape = (1 + r + r.square() / 3) * (-r).exp()
    else:
        shape = (-2 * ((math.pi * gaps).sin() / size).square()).exp()
    return scale.square()[:, None, None] * shape


def _conditions(dims: int, channels: int, context: int, targets: int) -> dict[str, Condition]:
    return {
        "places": Condition(shape=(targets, dims)),
        "context": Condition(shape=(context, dims + channels + 1)),
        "asked": Condition(shape=(targets,), role="real"),
    }


def _ranges(context: Range, targets: Range) -> None:
    for name, (least, most), first in (("context", context, 0), ("targets", targets, 1)):
        if not first <= least <= most:
            raise DataError(f"{name} is a range of numbers from {first} on, got {least} to {most}")


def _pair(given: Range) -> Range:
    """A tuple, whatever YAML gave."""
    least, most = given
    return least, most


def _counts(n: int, context: Range, targets: Range, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which of the context and of the targets exist, ``(n, most)`` each."""
    marks = []
    for least, most in (context, targets):
        count = least + torch.randint(most - least + 1, (n, 1), generator=generator)
        marks.append(torch.arange(most) < count)
    return marks[0], marks[1]


def _told(x: Tensor, y: Tensor, seen: Tensor) -> Tensor:
    """A context ``(n, C, dims + channels + 1)``: place, value, and 1 where there is a point, else 0."""
    return torch.where(seen[..., None], torch.cat([x, y, torch.ones_like(x[..., :1])], -1), 0.0)


class Functions(Drawn):
    """Draws of Gaussian processes of random length and scale at random places in [-2, 2].

    States are values ``(targets, 1)`` at ``places``, in the order of places; ``context`` holds points that
    are seen (place, value, 1), zeros where a row has fewer, and a row may have none. ``asked`` marks the
    targets that a row has. ``kernel``, length and scale of its process, is told to judges alone.

    Args:
        n: functions in every split.
        seed: of the draws.
        kernel: ``rbf``, ``matern`` (5/2) or ``periodic`` (period 1).
        context: least and most points seen.
        targets: least and most points asked.
        lengthscale: range.
        scale: range of the standard deviation.
        noise: standard deviation of observations.

    Raises:
        DataError: a range is none.
    """

    def __init__(
        self,
        n: int = 20_000,
        seed: int = 0,
        kernel: Kernel = "rbf",
        context: Range = (0, 24),
        targets: Range = (1, 26),
        lengthscale: tuple[float, float] = (0.1, 0.6),
        scale: tuple[float, float] = (0.1, 1.0),
        noise: float = 0.02,
    ) -> None:
        super().__init__(n, seed)
        _ranges(context, targets)
        if kernel not in ("rbf", "matern", "periodic"):
            raise DataError(f"kernel is rbf, matern or periodic, got '{kernel}'")
        for name, (low, high) in (("lengthscale", lengthscale), ("scale", scale)):
            if not 0 < low <= high:
                raise DataError(f"{name} is a range of positive numbers, got {low} to {high}")
        if noise <= 0:
            raise DataError(f"noise must be positive, got {noise}")
        self.kernel: Kernel = kernel
        self.context, self.targets = _pair(context), _pair(targets)
        self.lengthscale, self.scale, self.noise = lengthscale, scale, noise

    @property
    def spec(self) -> Spec:
        """Values, where they are, and what is seen."""
        conditions = _conditions(1, 1, self.context[1], self.targets[1])
        conditions["kernel"] = Condition(shape=(2,), role="judged")
        return Spec((self.targets[1], 1), conditions=conditions)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Functions."""
        seen, asked = _counts(n, self.context, self.targets, generator)
        c = self.context[1]
        x = 4 * torch.rand(n, c + self.targets[1], generator=generator) - 2
        # Targets in order; those that a row lacks stand last.
        x[:, c:] = torch.where(asked, x[:, c:], 3.0).sort(1).values
        low, high = torch.tensor([self.lengthscale, self.scale]).T
        kernel = low + (high - low) * torch.rand(n, 2, generator=generator)
        y = torch.empty_like(x)
        for rows in torch.arange(n).split(2000):
            root = torch.linalg.cholesky(self.covariance(x[rows], kernel[rows]))
            normal = torch.randn(len(rows), x.shape[1], 1, generator=generator, dtype=torch.float64)
            y[rows] = (root @ normal)[..., 0].float()
        context = _told(x[:, :c, None], y[:, :c, None], seen)
        places, values = x[:, c:, None] * asked[..., None], y[:, c:, None] * asked[..., None]
        return Examples(values, {"places": places, "context": context, "asked": asked, "kernel": kernel})

    def covariance(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Of observations at places ``(n, m)``, float64 ``(n, m, m)``; ``kernel`` ``(n, 2)``."""
        size, scale = kernel.double().unbind(1)
        noise = (self.noise**2 + 1e-9) * torch.eye(x.shape[1], dtype=torch.float64)
        return kernel_matrix(self.kernel, x.double(), size, scale) + noise

    def posterior(self, rows: Examples) -> list[tuple[Tensor, Tensor]]:
        """Mean and covariance of the targets of every row given its context, by its true kernel.

        Args:
            rows: of this data set, with all conditions.
        """
        found = []
        for i in range(len(rows)):
            asked, told = rows.cond["asked"][i], rows.cond["context"][i]
            told = told[told[:, -1] > 0]
            places = torch.cat([told[:, 0], rows.cond["places"][i, asked, 0]])
            whole = self.covariance(places[None], rows.cond["kernel"][i : i + 1])[0]
            c = len(told)
            gain = torch.linalg.solve(whole[:c, :c], whole[:c, c:]).T
            found.append((gain @ told[:, 1].double(), whole[c:, c:] - gain @ whole[:c, c:]))
        return found


class PixelFunctions(Dataset):
    """Images as functions of the plane: some pixels seen, others asked (image completion).

    Places lie in [-2, 2] x [-2, 2]; what is seen and asked is drawn once for every row.

    Args:
        images: a data set of images ``(channels, height, width)`` or ``(height, width)``.
        context: least and most pixels seen.
        targets: least and most pixels asked.
        seed: of what is seen and asked.

    Raises:
        IncompatibleError: the data are no images, or have too few pixels.
    """

    def __init__(
        self, images: Dataset, context: Range = (0, 16), targets: Range = (48, 48), seed: int = 0
    ) -> None:
        _ranges(context, targets)
        shape = images.spec.shape
        if images.spec.parts or images.spec.vocab is not None or len(shape) not in (2, 3):
            raise IncompatibleError(f"pixels are of images; the data are {images.spec.in_words()}")
        self.channels, self.side = (1, shape) if len(shape) == 2 else (shape[0], shape[1:])
        if context[1] + targets[1] > math.prod(self.side):
            raise IncompatibleError(
                f"{context[1]} pixels seen and {targets[1]} asked are more than {self.side} has"
            )
        self.images, self.seed = images, seed
        self.context, self.targets = _pair(context), _pair(targets)

    @property
    def spec(self) -> Spec:
        """Values, where they are, and what is seen."""
        conditions = _conditions(2, self.channels, self.context[1], self.targets[1])
        return Spec((self.targets[1], self.channels), conditions=conditions)

    def __len__(self) -> int:
        return len(self.images)

    def split(self, name: str) -> Dataset:
        """That of the images."""
        if name == "train":
            return self
        return PixelFunctions(self.images.split(name), self.context, self.targets, self.seed + 1)

    def take(self, rows: Tensor) -> Examples:
        """Pixels of images."""
        x = self.images.take(rows).x
        assert isinstance(x, Tensor)
        pixels = x.reshape(len(rows), self.channels, -1).transpose(1, 2)
        height, width = (torch.linspace(-2, 2, size) for size in self.side)
        grid = torch.cartesian_prod(height, width)
        c, t = self.context[1], self.targets[1]
        order, marks = [], []
        for row in rows.tolist():  # a row's own draw, whoever asks for it
            draws = torch.Generator().manual_seed(self.seed * 1_000_003 + row)
            order.append(torch.randperm(len(grid), generator=draws)[: c + t])
            marks.append(_counts(1, self.context, self.targets, draws))
        places = torch.stack(order) if order else torch.empty(0, c + t, dtype=torch.long)
        seen = torch.cat([one for one, _ in marks]) if marks else torch.empty(0, c, dtype=torch.bool)
        asked = torch.cat([one for _, one in marks]) if marks else torch.empty(0, t, dtype=torch.bool)
        y = pixels.gather(1, places[..., None].expand(-1, -1, self.channels))
        where = grid[places]
        return Examples(
            y[:, c:] * asked[..., None],
            {
                "places": where[:, c:] * asked[..., None],
                "context": _told(where[:, :c], y[:, :c], seen),
                "asked": asked,
            },
        )
