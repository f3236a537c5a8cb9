"""Dequantisation: levels of brightness become real numbers with a density."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError
from flowloom.flow import Flow
from flowloom.spec import Spec
from flowloom.state import sum_event

_TOLERANCE = 1e-3
"""How far from a level a value may lie, in levels."""
_ROWS, _ROWS_OF_FILES = 2**17, 1024
"""Rows that are looked at, evenly spread: the first of sorted data are all of one kind."""


class Dequantize(Codec):
    r"""Uniform dequantisation: level k of n becomes :math:`(k + u)/n - 1/2` with u uniform in [0, 1).

    A density p of such states bounds the probability of the data (Theis et al., 1511.01844, section 3.1),

    .. math:: -\log_2 P(x) \le -E_u \log_2 p\big((x + u)/n - 1/2\big) + D \log_2 n .

    Without a generator every level goes to its middle. Data are of whole levels, so there is no derivative
    and no ``log_det``; `log_volume` says how much the states of a cell are stretched.

    With ``logit`` :math:`\alpha > 0` states are :math:`\mathrm{logit}(\alpha + (1 - 2\alpha)(k + u)/n)`,
    which has no edges (RealNVP, 1605.08803, section 4.1); scores are then matched in that space.

    Args:
        spec: of data with limits, whose levels are evenly spread between them; injected from the recipe.
        levels: n, 256 for bytes.
        logit: alpha, 0 for states that are in proportion to brightness.

    Raises:
        DataError: the data have no limits.
    """

    def __init__(self, spec: Spec, levels: int = 256, logit: float = 0.0) -> None:
        super().__init__(spec)
        if spec.limits is None or spec.discrete or spec.parts:
            raise DataError("dequantize takes data of levels between known limits, such as images")
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got {levels}")
        if not 0 <= logit < 0.5:
            raise ValueError(f"logit lies in [0, 0.5), got {logit}")
        self.levels, self.logit = levels, logit
        self.low, self.high = spec.limits

    @property
    def spec(self) -> Spec:
        """The data's, in [-1/2, 1/2], or between the logits of alpha and 1 - alpha."""
        edge = math.log((1 - self.logit) / self.logit) if self.logit else 0.5
        return replace(self.data_spec, limits=(-edge, edge))

    def log_cell(self) -> float:
        """Log volume in nats of the states that are one example, without logits: ``-D log(levels)``."""
        return -self.data_spec.numel() * math.log(self.levels)

    def log_volume(self, states: Tensor) -> Tensor:
        """``log |d state / du|`` in nats, ``(batch,)``: makes a density of states one of levels and u."""
        cells = states.new_full((len(states),), self.log_cell())
        if not self.logit:
            return cells
        slope = -nn.functional.logsigmoid(states) - nn.functional.logsigmoid(-states)
        return cells + sum_event(slope + math.log1p(-2 * self.logit))

    def place(self, level: Tensor, within: Tensor) -> Tensor:
        """States of levels k and of places u in their cells, both of the shape of states."""
        y = (level + within) / self.levels
        if not self.logit:
            return y - 0.5
        low, wide = self.logit, 1 - 2 * self.logit
        return (low + wide * y).log() - (low + wide * (1 - y)).log()

    def middle(self, level: Tensor) -> Tensor:
        """Middles of the cells of levels, in [-1/2, 1/2] whether states are logits or not."""
        return (level + 0.5) / self.levels - 0.5

    def level(self, states: Tensor) -> Tensor:
        """The level k of the cell that a state lies in, as a real number; beyond all cells, the nearest."""
        y = states + 0.5
        if self.logit:
            y = (states.sigmoid() - self.logit) / (1 - 2 * self.logit)
        return (y * self.levels).floor().clamp(0, self.levels - 1)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Look at the training rows of a flow, evenly spread: their values must be levels.

        Raises:
            DataError: they are not.
        """
        if data is None or flow is None:
            return
        for rows in data.evenly(_ROWS_OF_FILES if getattr(data, "reads_files", False) else _ROWS).split(1024):
            x = data.take(rows).x
            assert isinstance(x, Tensor)
            places = self._places(x)
            if float((places - places.round()).abs().max()) > _TOLERANCE:
                raise DataError(
                    f"dequantize: the data are not of {self.levels} levels from {self.low:g} to "
                    f"{self.high:g}; set levels to what they have (256 for bytes)"
                )

    def _places(self, x: Tensor) -> Tensor:
        return (x - self.low) / (self.high - self.low) * (self.levels - 1)

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Levels spread over their cells."""
        x = examples.x
        assert isinstance(x, Tensor)
        x = x if x.is_floating_point() else x.float()  # bytes have no middles
        within = torch.full_like(x, 0.5)
        if generator is not None:
            within = Draw.like(x, generator).uniform(x.shape)
        return replace(examples, x=self.place(self._places(x).round(), within))

    def decode(self, examples: Examples) -> Examples:
        """The level of the cell; states beyond all cells take the nearest."""
        x = examples.x
        assert isinstance(x, Tensor)
        scale = (self.high - self.low) / (self.levels - 1)
        return replace(examples, x=self.low + self.level(x) * scale)
