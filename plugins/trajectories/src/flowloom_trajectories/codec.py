"""Ways about what constant velocity would make of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import sum_event

__all__ = ["AboutConstantVelocity"]


class AboutConstantVelocity(Codec):
    r"""States are what is left when an agent goes on as it did, :math:`z_t = (x_t - p_0 - t\,v) / s_t`.

    The velocity v is that of the last observed step, and :math:`s_t` the root mean square of what is left at
    step t, over both coordinates, on the training rows where it is real: so the flow has to learn turns, and
    far steps weigh as much as near ones.

    Args:
        spec: of the data; injected from the recipe.
        past: the condition ``(observed, d)`` that ends right before the state.
        rows: training rows to fit on, at most.

    Raises:
        IncompatibleError: the data have no such condition.
    """

    scale: Tensor

    def __init__(self, spec: Spec, past: str = "past", rows: int = 20_000) -> None:
        super().__init__(spec)
        told = spec.conditions.get(past)
        if len(spec.shape) != 2 or spec.vocab is not None or told is None or told.shape[1:] != spec.shape[1:]:
            raise IncompatibleError(
                f"about-constant-velocity goes on from a condition '{past}' (observed, channels) beside "
                f"states (steps, channels); there is {', '.join(spec.conditions) or 'none'}"
            )
        self.past, self.rows = past, rows
        self.register_buffer("scale", torch.ones(spec.shape[0], 1))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure what is left on the training data."""
        if data is None:
            raise DataError("codec about-constant-velocity measures data, and this recipe has none")
        some = data.take(data.evenly(self.rows))
        assert isinstance(some.x, Tensor)
        left = some.x - self._straight(some)
        kept, layout = torch.ones_like(left), Layout.of(data.spec, some.cond)
        if layout is not None:
            left, kept = layout.zero(left), layout.zero(kept)
        count = kept.sum((0, 2))
        scale = (left.square().sum((0, 2)) / count.clamp_min(1)).sqrt().clamp_min(1e-6)
        # A step that no row has keeps its unit.
        self.scale = torch.where(count > 0, scale, 1.0)[:, None].to(self.scale.device)

    def _straight(self, examples: Examples) -> Tensor:
        told = examples.cond[self.past]
        assert isinstance(examples.x, Tensor)
        count = torch.arange(1, examples.x.shape[1] + 1, dtype=told.dtype, device=told.device)
        return told[:, -1:] + count[:, None] * (told[:, -1:] - told[:, -2:-1])

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """What is left, in units of its size."""
        assert isinstance(examples.x, Tensor)
        return replace(examples, x=(examples.x - self._straight(examples)) / self.scale)

    def decode(self, examples: Examples) -> Examples:
        """Ways."""
        assert isinstance(examples.x, Tensor)
        return replace(examples, x=examples.x * self.scale + self._straight(examples))

    def log_det(self, examples: Examples) -> Tensor | None:
        """``-d sum log s`` over the real steps of a row."""
        x = examples.x
        assert isinstance(x, Tensor)
        entries, layout = -self.scale.log().expand(x.shape), Layout.of(self.data_spec, examples.cond)
        return sum_event(entries if layout is None else layout.zero(entries))
