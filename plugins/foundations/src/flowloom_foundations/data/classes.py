"""Laws with classes whose density is known."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.spec import Condition, Spec


class NormalClasses(Drawn):
    """Examples of one diagonal Gaussian a class, drawn once from a seed; ``label`` is the class.

    Args:
        n: examples in every split.
        seed: of the draws, not of the law.
    """

    def __init__(self, n: int = 20_000, seed: int = 0) -> None:
        super().__init__(n, seed)
        self.means, self.stds = self.law()

    @abstractmethod
    def law(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, both ``(classes, d)``."""

    @property
    def spec(self) -> Spec:
        """Points ``(d,)`` with their class."""
        classes, d = self.means.shape
        return Spec((d,), conditions={"label": Condition(classes)})

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Classes as often as each other, on average."""
        label = torch.randint(len(self.means), (n,), generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator)
        return Examples(self.means[label] + self.stds[label] * noise, {"label": label})

    def class_of(self, x: Tensor) -> Tensor:
        """Bayes' guess of the class of points ``(n, d)``: the most probable one under the true law."""
        z = (x[:, None] - self.means) / self.stds
        return (-0.5 * z.square().sum(-1) - self.stds.log().sum(-1)).argmax(1)


class ScatteredClasses(NormalClasses):
    """Classes far apart in many dimensions: means N(0, 9), standard deviations uniform in [0.1, 0.75].

    Args:
        n: examples in every split.
        seed: of the draws, not of the law.
        dim: dimensions.
        classes: number of classes.
    """

    def __init__(self, n: int = 20_000, seed: int = 0, dim: int = 16, classes: int = 10) -> None:
        self.dim, self.classes = dim, classes
        super().__init__(n, seed)

    def law(self) -> tuple[Tensor, Tensor]:
        """Drawn once and for all."""
        draws = torch.Generator().manual_seed(2509)
        means = 3.0 * torch.randn(self.classes, self.dim, generator=draws)
        return means, 0.1 + 0.65 * torch.rand(self.classes, self.dim, generator=draws)


class OverlappingClasses(NormalClasses):
    """Eight round classes of standard deviation 0.45 on a circle of radius 1.5, each over its neighbours."""

    def law(self) -> tuple[Tensor, Tensor]:
        """The same for every seed."""
        angle = torch.arange(8) * (math.pi / 4)
        return 1.5 * torch.stack([angle.cos(), angle.sin()], 1), torch.full((8, 2), 0.45)
