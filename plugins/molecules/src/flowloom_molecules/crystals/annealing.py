"""Anti-annealing: parts of a velocity field that run faster towards the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance
from flowloom.state import Cond, State, expand


class AntiAnnealing(Guidance):
    r"""Multiplies the velocity of some parts of a product state by :math:`1 + s\,t`.

    FlowMM (2406.04713, section 4) runs coordinates so in sampling, which gathers them nearer to where the
    network sees them end. With few steps large s overshoots at the end: keep :math:`(1 + s)/\mathrm{steps}`
    well below 1.

    Args:
        slopes: s by name of the part; parts that are not named keep their speed.
    """

    def __init__(self, slopes: Mapping[str, float]) -> None:
        if any(not -1 < s < math.inf for s in slopes.values()):
            raise ValueError(
                f"slopes must be finite and greater than -1, or parts would run backwards; got {dict(slopes)}"
            )
        self.slopes = dict(slopes)

    def __call__(self, field: Field) -> Field:
        """The field with those parts faster.

        Raises:
            IncompatibleError: a part is not there, or has no velocity.
        """
        kinds = field.kind
        for name in self.slopes:
            kind = kinds.get(name) if isinstance(kinds, Mapping) else kinds
            if kind != "velocity":
                raise IncompatibleError(
                    f"guidance anti-annealing speeds up velocities; part '{name}' is {kind or 'not there'}"
                )
        return _Faster(field, self.slopes)


class _Faster(Wrapped):
    def __init__(self, field: Field, slopes: Mapping[str, float]) -> None:
        super().__init__(field)
        self.slopes = slopes

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """As the other field, its named parts times ``1 + s t``."""
        value = self.ask(x, t, cond, generator)
        if not isinstance(value, dict):
            raise IncompatibleError(
                f"guidance anti-annealing names the parts {', '.join(self.slopes)}; the state is one tensor"
            )
        return {**value, **{name: self._faster(value[name], t, s) for name, s in self.slopes.items()}}

    def _faster(self, value: Any, t: Any, slope: float) -> Tensor:
        time = t if isinstance(t, Tensor) else torch.as_tensor(t, dtype=value.dtype, device=value.device)
        factor = 1 + slope * time
        return value * expand(factor, value)
