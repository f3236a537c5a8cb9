"""Windows of a wearable's accelerometer, made up: six activities that differ in rhythm and not in phase."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["Activities"]


@dataclass(frozen=True)
class _Activity:
    """How a body moves: steps a second, shares of the overtones, size along each axis, tilt, bursts."""

    name: str
    pace: float
    overtones: tuple[float, float, float]
    axes: tuple[float, float, float]
    tilt: float
    bursts: float = 0.0


_ALL = (
    _Activity("walking", 1.8, (1.0, 0.5, 0.2), (0.4, 0.9, 0.3), 0.1),
    _Activity("running", 2.6, (1.0, 0.5, 0.2), (0.5, 1.2, 0.4), 0.1),
    _Activity("climbing", 1.6, (0.4, 1.0, 0.3), (0.4, 0.9, 0.3), 0.25),
    _Activity("cycling", 1.3, (1.0, 0.1, 0.0), (0.8, 0.2, 0.6), 0.5),
    _Activity("washing", 3.4, (1.0, 0.2, 0.0), (0.7, 0.3, 0.7), 0.4, 0.5),
    _Activity("resting", 0.3, (0.3, 0.0, 0.0), (0.2, 0.2, 0.2), 0.5),
)


class Activities(Drawn):
    r"""Windows ``(length, 3)`` of an accelerometer in units of half of gravity, gravity's mean taken out.

    A window is :math:`R\,(g + s\,b(\tau) \sum_k c_k A \sin(2\pi k f \tau + \delta_k)) + \epsilon`: a pace f
    within 12 % of the activity's, overtones c, axes A and tilt g of the activity, bursts b where it comes in
    bursts. What does not tell the activity is as large: phases :math:`\delta` of every axis and overtone, the
    size s (30 %), how the device sits (R, some 0.3 rad about every axis), noise.

    ``activity`` has the role ``judged``: neither training nor sampling sees it, unless ``labelled``.

    Args:
        n: windows of the training split, every activity as often.
        seed: of the draws.
        length: steps.
        rate: steps a second.
        noise: its standard deviation.
        held: windows of each other split.
        labelled: whether networks may be told the activity.
    """

    names: ClassVar[tuple[str, ...]] = tuple(one.name for one in _ALL)

    def __init__(
        self,
        n: int = 3000,
        seed: int = 0,
        length: int = 100,
        rate: float = 20.0,
        noise: float = 0.3,
        held: int = 1200,
        labelled: bool = False,
    ) -> None:
        if length < 8 or rate <= 0 or noise < 0 or held < 1:
            raise DataError(
                "length is at least 8, rate positive, noise not negative and held at least 1; got "
                f"{length}, {rate}, {noise}, {held}"
            )
        super().__init__(n, seed)
        self.length, self.rate, self.noise, self.held, self.labelled = length, rate, noise, held, labelled

    @property
    def spec(self) -> Spec:
        """Windows, and what was done."""
        activity = Condition(len(_ALL), names=self.names, role="inform" if self.labelled else "judged")
        return Spec((self.length, 3), conditions={"activity": activity})

    def split(self, name: str) -> Dataset:
        """Further draws, ``held`` of them."""
        other = super().split(name)
        if other is not self and isinstance(other, Activities):
            other = copy.copy(other)
            other.n = self.held
        return other

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Windows, one of each activity after another."""
        which = torch.arange(n) % len(_ALL)

        def of(field: str) -> Tensor:
            return torch.tensor([getattr(one, field) for one in _ALL])[which]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=generator)

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator)

        time = torch.arange(self.length) / self.rate
        pace = of("pace") * (1 + 0.24 * (uniform() - 0.5))
        angle = 2 * math.pi * (pace[:, None] * time + uniform(1))
        order = torch.arange(1, 4)
        waves = (angle[:, :, None, None] * order + 2 * math.pi * uniform(1, 3, 1)).sin()
        swing = (waves * of("overtones")[:, None, None]).sum(-1) * of("axes")[:, None]
        beat = (2 * math.pi * (0.5 * time + uniform(1))).sin()
        bursts = of("bursts")[:, None]
        swing = swing * (1 - bursts + 2 * bursts * (beat > 0))[..., None] * (0.3 * normal(1, 1)).exp()
        down = torch.stack([of("tilt").sin(), of("tilt").cos(), torch.zeros(n)], -1)
        turned = torch.einsum("nij,nlj->nli", _turns(0.3 * normal(3)), swing + 2 * down[:, None])
        x = turned - torch.tensor([0.0, 2.0, 0.0]) + self.noise * normal(self.length, 3)
        return Examples(x, {"activity": which})


def _turns(angles: Tensor) -> Tensor:
    """Rotations by ``(n, 3)``, the exponentials of their skew matrices: ``(n, 3, 3)``."""
    a, b, c = angles.unbind(-1)
    zero = torch.zeros_like(a)
    skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], -1).reshape(-1, 3, 3)
    return torch.linalg.matrix_exp(skew)
