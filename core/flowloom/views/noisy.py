"""A noisy observation as a condition: denoising, and the simplest of inverse problems."""

from __future__ import annotations

import torch

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.state import expand
from flowloom.views.base import View, leaf, part_at, plus

__all__ = ["Noisy"]


class Noisy(View):
    r"""Tells the network the state under Gaussian noise: :math:`y = x + \sigma\varepsilon`, a condition.

    The standard deviation is drawn for every row, :math:`\sigma \sim U[\mathrm{least}, \mathrm{std}]`; where nothing
    says otherwise it is always ``std``. Padding reads 0.

    Args:
        std: standard deviation of the noise, in the units of the data; the largest one.
        least: the smallest one; ``std`` where None.
        of: dotted part of a product state.
        name: of the condition.
    """

    def __init__(
        self, std: float = 0.5, least: float | None = None, of: str = "", name: str = "observed"
    ) -> None:
        low = std if least is None else least
        if not 0 <= low <= std:
            raise ValueError(f"noise takes 0 <= least <= std, got least={least} and std={std}")
        self.std, self.least, self.of, self.name = std, low, of, name

    def spec(self, spec: Spec) -> Spec:
        """With the observation."""
        part = leaf(spec, self.of, "noisy")
        if part.vocab is not None:
            raise IncompatibleError("view noisy adds to numbers, and these states are tokens; try view mask")
        return plus(spec, "noisy", **{self.name: Condition(shape=part.shape)})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same states, with a noisy observation of each."""
        x = part_at(examples.x, self.of)
        std = self.least + (self.std - self.least) * torch.rand(len(x), generator=generator, dtype=x.dtype)
        seen = x + expand(std, x) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        if examples.layout is not None:
            seen = examples.layout.at(self.of).zero(seen)
        return Examples(examples.x, {**examples.cond, self.name: seen})
