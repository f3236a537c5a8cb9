"""Noise levels as time: the path of PFGM++ and EDM, and how often training visits each level."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.geometry import Euclidean, Geometry
from flowloom.paths import Kind, Path, Point
from flowloom.sources import Source
from flowloom.state import State, Time, expand, map_state
from flowloom.times import TimeLaw
from flowloom_foundations.poisson.kernel import PoissonKernel

_KINDS = ("velocity", "data", "noise", "score")


class NoiseLevels(Path):
    r"""Data under noise that fades: :math:`x_\sigma = x_1 + (\sigma/\sigma_{max})\, x_0`, with time sigma.

    Time runs from sigma_max, where x0 is the noise itself, down to sigma_min. The law of x0 is the kernel at
    sigma_max, `PoissonKernel` or a Gaussian of that standard deviation; as kernels scale, :math:`x_\sigma`
    given the data has the kernel at sigma. The velocity is :math:`dx/d\sigma = (x_\sigma - x_1)/\sigma`, so
    of a denoiser :math:`D = E[x_1|x_\sigma]` it is (2302.04265, algorithm 2; 2206.00364, equation 3)

    .. math:: \frac{dx}{d\sigma} = \frac{x - D(x, \sigma)}{\sigma}.

    Velocity, data and noise (x0) convert into each other, and into a score where the source is Gaussian:
    other kernels have a Poisson field, whose direction this velocity is, and no linear score. The ends are
    reached only nearly: at sigma_max the data are still there, at sigma_min some noise.

    Args:
        sigma_max: first level, that of the source.
        sigma_min: last level; conversions are not asked below it.
        geometry: Euclidean, or a product of Euclidean parts.
    """

    arrives = False
    affine = True

    def __init__(
        self, sigma_max: float = 80.0, sigma_min: float = 0.002, geometry: Geometry | None = None
    ) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(
                f"levels must fall from sigma_max to a positive sigma_min, got {sigma_max} to {sigma_min}"
            )
        self.geometry = geometry or Euclidean()
        self.span = (float(sigma_max), float(sigma_min))

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point at level t; nothing is drawn."""
        velocity = map_state(lambda noise: noise / self.span[0], x0)

        def blur(data: Tensor, slope: Tensor, level: Tensor) -> Tensor:
            return torch.addcmul(data, expand(level.to(data.dtype), data), slope)

        return Point(map_state(blur, x1, velocity, t), t, velocity, x0, x1)

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Between velocity, data and noise; with a Gaussian source scores."""
        if given == wanted:
            return True
        if given not in _KINDS or wanted not in _KINDS:
            return False
        return "score" not in (given, wanted) or (source is not None and source.gaussian)

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """By way of the velocity; see the class."""
        highest, lowest = self.span
        std = highest if source is None or source.std is None else source.std

        def leaf(v: Tensor, x: Tensor, t: Tensor) -> Tensor:
            level = expand(t.to(x.dtype), x).clamp_min(lowest)
            # score = -(x - D) / s^2, where s is the noise's own deviation at this level.
            spread = level * (std / highest) ** 2
            if given == "data":
                v = (x - v) / level
            elif given == "noise":
                v = v / highest
            elif given == "score":
                v = -spread * v
            if wanted == "data":
                return x - level * v
            if wanted == "noise":
                return highest * v
            return v if wanted == "velocity" else -v / spread

        return map_state(leaf, value, x, t)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Curved spaces; a source that is not the noise of the first level."""
        geometry, source = parts.get("geometry"), parts.get("source")
        if isinstance(geometry, Geometry) and not geometry.straight:
            yield Clash("path", "geometry", f"noise cannot be added to points of {geometry}, only of R^n")
        if not isinstance(source, Source):
            return
        level = source.sigma if isinstance(source, PoissonKernel) else source.std
        if level is not None and not math.isclose(level, self.span[0]):
            key = "sigma" if isinstance(source, PoissonKernel) else "std"
            yield Clash(
                "path",
                "source",
                f"the path starts at noise level {self.span[0]:g} and the source draws noise of {level:g}; "
                f"set source.{key}: {self.span[0]:g}",
            )

    def __repr__(self) -> str:
        return f"NoiseLevels(sigma_max={self.span[0]:g}, sigma_min={self.span[1]:g})"


class LogNormalLevels(TimeLaw):
    r"""``ln sigma ~ N(mean, std^2)`` between the ends of the path (2206.00364, table 1).

    What EDM draws beyond them, 0.002 % at its settings, is drawn inside instead.

    Args:
        path: whose span it keeps to; injected from the recipe.
        mean: of the logarithm.
        std: of the logarithm.
        stratified: see `TimeLaw`.

    Raises:
        IncompatibleError: the path runs over times that are not all positive.
    """

    def __init__(self, path: Path, mean: float = -1.2, std: float = 1.2, stratified: bool = False) -> None:
        super().__init__(1.0, stratified)
        if std <= 0:
            raise ValueError(f"std must be positive, got {std}")
        low, high = sorted(path.span)
        if low <= 0:
            raise IncompatibleError(
                f"log-normal-levels draws positive levels, and {type(path).__name__} runs over times from "
                f"{low:g}; use path: noise-levels"
            )
        self.mean, self.std, self.support = mean, std, (low, high)

    def quantile(self, u: Tensor) -> Tensor:
        """``exp(mean + std ndtri(v))`` for v between the shares of the law below both ends."""
        below, upto = (
            torch.special.ndtr(torch.tensor((math.log(end) - self.mean) / self.std, dtype=torch.float64))
            for end in self.support
        )
        v = below + (upto - below) * u.double()
        return torch.exp(self.mean + self.std * torch.special.ndtri(v)).clamp(*self.support).to(u.dtype)
