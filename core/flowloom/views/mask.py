"""Some entries given, the others to be made up: completion, in-painting, prompts."""

from __future__ import annotations

from typing import Any

import torch

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.state import expand
from flowloom.views.base import View, leaf, part_at, plus

__all__ = ["Mask"]


class Mask(View):
    r"""Holds a random share of every example: conditions of role ``given`` and ``values``.

    A share :math:`s \sim U[\mathrm{least}, \mathrm{most}]` is drawn for every row; each entry is then given
    with probability s, or, with probability ``prefix``, the first share of them along the first dimension is
    (of those that are real, where examples differ in length). Padding is never given.

    Args:
        least: smallest share of given entries, in [0, 1].
        most: largest share, in [least, 1].
        prefix: probability that the given entries are the first ones instead of any.
        dims: leading dimensions of an example over which entries are told apart (1: whole points of a cloud,
            whole frames of a sequence); all of them where None. Of a point that lacks some of its entries
            the others alone are given, and marks are then as fine as what is real.
        of: dotted part of a product state.
        name: of the condition that marks them; their values are ``<name>_values``.
    """

    def __init__(
        self,
        least: float = 0.0,
        most: float = 0.9,
        prefix: float = 0.0,
        dims: int | None = None,
        of: str = "",
        name: str = "given",
    ) -> None:
        if not 0 <= least <= most <= 1 or not 0 <= prefix <= 1:
            raise ValueError(
                f"least, most and prefix are shares in [0, 1], least <= most; got {least}, {most}, {prefix}"
            )
        if least == 1 and not of:
            raise ValueError("least is 1, so that all would be given and nothing learned")
        if dims is not None and dims < 1:
            raise ValueError(f"dims counts leading dimensions from 1, got {dims}")
        self.least, self.most, self.prefix, self.dims, self.of, self.name = (
            least,
            most,
            prefix,
            dims,
            of,
            name,
        )

    def spec(self, spec: Spec) -> Spec:
        """With the two conditions."""
        shape = leaf(spec, self.of, "mask").shape
        if self.dims is not None and self.dims > len(shape):
            raise IncompatibleError(
                f"view mask tells entries apart over {self.dims} leading dimensions (dims); "
                f"examples have {len(shape)}, shape {tuple(shape)}"
            )
        # As fine as what is real: where a point lacks some of its entries, the others alone are given.
        real = (c.shape for c in spec.conditions.values() if c.role == "real" and self.of in c.parts())
        finest = max([shape[: self.dims], *real], key=len)
        marks = Condition(shape=finest, role="given", of=self.of)
        values = Condition(shape=shape, role="values", of=self.of)
        return plus(spec, "mask", **{self.name: marks, f"{self.name}_values": values})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """The same states, with what is given of them."""
        x = part_at(examples.x, self.of)
        shape, n = x.shape[1:][: self.dims], len(x)
        share = self.least + (self.most - self.least) * torch.rand(n, generator=generator)
        first = torch.rand(n, generator=generator) < self.prefix
        draws = torch.rand((n, *shape), generator=generator)
        share, first = (v.reshape(n, *(1,) * len(shape)) for v in (share, first))
        given = draws < share
        real = self._real(examples, given)
        if shape:
            along = real.flatten(2).any(2) if len(shape) > 1 else real
            place = along.cumsum(1) / along.sum(1, keepdim=True).clamp_min(1)
            place = place.reshape(n, shape[0], *(1,) * (len(shape) - 1))
            given = torch.where(first, (place <= share).expand_as(given), given)
        given = given & real
        fine = self._marks(examples)
        if fine is not None and fine.ndim > given.ndim:
            given = expand(given, fine) & fine
        values = torch.where(expand(given, x), x, torch.zeros((), dtype=x.dtype))
        return Examples(examples.x, {**examples.cond, self.name: given, f"{self.name}_values": values})

    def _marks(self, examples: Examples) -> torch.Tensor | None:
        real: Any = (examples.layout or Layout()).at(self.of).real
        return real if isinstance(real, torch.Tensor) else None

    def _real(self, examples: Examples, like: torch.Tensor) -> torch.Tensor:
        real = self._marks(examples)
        if real is None:
            return torch.ones_like(like)
        # A point is real where any of it is.
        while real.ndim > like.ndim:
            real = real.any(-1)
        return expand(real, like)
