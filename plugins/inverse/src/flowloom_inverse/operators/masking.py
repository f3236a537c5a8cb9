"""Some entries are seen, the others are not: in-painting, gaps in a series."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import Cond, expand
from flowloom.views import Mask, View, through
from flowloom.views.base import spec_through
from flowloom_inverse.operators.base import Operator

__all__ = ["Masking"]

SEEN = "seen"


class Masking(Operator):
    """Shows what views give: ``mask`` for scattered entries or whole steps, ``hole`` for a rectangle.

    A measurement has the shape of the data, with 0 where nothing is seen.

    Args:
        holes: views that say what is given; half of all entries, at random, where empty.
    """

    def __init__(self, holes: Sequence[View] = ()) -> None:
        self.holes = tuple(holes) or (Mask(0.5, 0.5),)

    def require(self, spec: Spec) -> None:
        """As for all, and that the views can be taken of the data and give something."""
        super().require(spec)
        if spec.named("given"):
            raise IncompatibleError("masking hides entries itself, and the recipe's views give some already")
        if not spec_through(self.holes, spec).named("given"):
            raise IncompatibleError("masking: its holes give no entries; take mask, or hole of images")

    def draw(self, rows: Examples, spec: Spec, generator: torch.Generator) -> dict[str, Tensor]:
        """Where entries are seen, in the shape of the data."""
        seen = through(self.holes, rows, spec, generator).laid_out(spec_through(self.holes, spec))
        given = (seen.layout or Layout()).given
        assert isinstance(given, Tensor)
        assert isinstance(rows.x, Tensor)
        return {SEEN: expand(given, rows.x).expand_as(rows.x).contiguous()}

    def __call__(self, x: Tensor, drawn: Cond) -> Tensor:
        """What is seen, and 0."""
        return x * drawn[SEEN]

    def back(self, y: Tensor, drawn: Cond) -> Tensor:
        """The same."""
        return y * drawn[SEEN]

    def adjoint(self, y: Tensor, drawn: Cond) -> Tensor:
        """The same."""
        return y * drawn[SEEN]

    def settle(self, x: Tensor, y: Tensor, drawn: Cond, trust: float = 0.0) -> Tensor:
        """Seen entries between ``x`` and ``y``, the others left."""
        return torch.where(drawn[SEEN], torch.lerp(x, y, 1 / (1 + trust)), x)

    def measured(self, y: Tensor, drawn: Cond) -> Tensor | None:
        """What is seen."""
        return drawn[SEEN]

    def known(self, y: Tensor, drawn: Cond) -> Tensor | None:
        """What is seen."""
        return drawn[SEEN]
