"""How long a first piece of an interval is, as training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ExponentialRatio", "Ratio", "SigmoidRatio", "ratio_at"]


@dataclass(frozen=True)
class SigmoidRatio:
    r"""From 1 to 0 along a sigmoid, snapped to its ends (AlphaFlow 2510.20771).

    .. math:: \alpha(p) = 1 - \sigma\Big(\gamma\,\frac{p - (p_0 + p_1) / 2}{p_1 - p_0}\Big)

    Args:
        begin: progress :math:`p_0` at which the fall begins; of the training, in [0, 1].
        end: progress :math:`p_1` at which it has ended.
        steepness: gamma.
        snap: eta; values nearer than this to 0 and 1 are 0 and 1.

    Raises:
        ValueError: an argument is out of range.
    """

    begin: float = 0.0
    end: float = 1.0
    steepness: float = 25.0
    snap: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(
                f"begin and end are shares of the training, in order, got {self.begin}, {self.end}"
            )
        if not 0 < self.steepness < math.inf or not 0 < self.snap < 0.5:
            raise ValueError(
                "steepness is positive and finite, and snap lies in (0, 0.5); got "
                f"{self.steepness}, {self.snap}"
            )

    def __call__(self, progress: float) -> float:
        """The ratio when ``progress`` of the training is done."""
        at = self.steepness * (progress - (self.begin + self.end) / 2) / (self.end - self.begin)
        value = 1 - 1 / (1 + math.exp(-max(-700.0, min(700.0, at))))
        return 1.0 if value > 1 - self.snap else 0.0 if value < self.snap else value


@dataclass(frozen=True)
class ExponentialRatio:
    """``first (last / first)^p`` (SoFlow 2512.15657): 0.1 to 0.002 on ImageNet, 1 to 0.0003 on CIFAR-10.

    Args:
        first: at the beginning.
        last: at the end.

    Raises:
        ValueError: they do not lie in (0, 1].
    """

    first: float = 0.1
    last: float = 0.002

    def __post_init__(self) -> None:
        if not (0 < self.first <= 1 and 0 < self.last <= 1):
            raise ValueError(f"first and last lie in (0, 1], got {self.first}, {self.last}")

    def __call__(self, progress: float) -> float:
        """The ratio when ``progress`` of the training is done."""
        return float(self.first * (self.last / self.first) ** progress)


Ratio = float | SigmoidRatio | ExponentialRatio


def ratio_at(ratio: Ratio, progress: float) -> float:
    """A ratio that stays, or one of a curriculum, when ``progress`` of the training is done."""
    return float(ratio) if isinstance(ratio, int | float) else ratio(progress)
