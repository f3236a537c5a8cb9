"""Training by exact likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.codecs import Codec
from flowloom.data import Dataset
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.objectives import Batch, Loss, Objective, Step, Turn
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.spec import Condition
from flowloom.state import Cond
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.dequantizers import Dequantizer, log_probability
from flowloom_likelihood.field import KIND, TEMPERATURE, BijectionField

if TYPE_CHECKING:
    from flowloom.flow import Flow


_NOT_NORMAL = (
    "exact-likelihood carries data to N(0, I); use source: gaussian with std 1 "
    "(samples take --cond temperature=0.7)"
)
_NO_LEVELS = "a dequantizer places levels within their cells; use codec: dequantize"
_NOT_FLAT = "exact-likelihood is for flat states; use geometry: euclidean"

FIRST_ROWS = 512
"""Training rows whose statistics a dequantiser starts at."""


class ExactLikelihood(Objective):
    r"""The negative log density of the states under a bijection, in bits for every dimension.

    .. math:: L = -\frac{1}{D \ln 2} E\big[\log N(f(x); 0, I) + \log|\det \partial f/\partial x|\big]

    (1807.03039, equations 1 to 3). Behind the codec ``dequantize`` they are bits per dimension of the *data*,
    one draw of the bound that the score ``bits-per-dim`` tells. Sampling takes a setting ``temperature``.

    With a dequantiser u is drawn anew within the cell of every state, and the bound
    :math:`\log p(x + u) - \log q(u | x)` is climbed in both laws at once (1902.00275, equation 11).

    Args:
        path: of the recipe, whose geometry the states lie on; there are no times and no points between.
        codec: of the recipe.
        dequantizer: learned with the bijection, whichever that is; None keeps the uniform noise of the codec.

    Raises:
        IncompatibleError: there is a dequantiser, and the codec has no levels.
    """

    def __init__(
        self, path: Path, codec: Codec | None = None, dequantizer: Dequantizer | None = None
    ) -> None:
        super().__init__()
        if dequantizer is not None and not isinstance(codec, Dequantize):
            raise IncompatibleError(_NO_LEVELS)
        self.path, self.dequantizer = path, dequantizer
        self.codec = codec if isinstance(codec, Dequantize) else None

    def bound(
        self, model: nn.Module, x: Tensor, cond: Cond, generator: torch.Generator | None = None
    ) -> Tensor:
        """One draw of the bound on the log probability of data in nats, ``(batch,)``: `log_probability`."""
        return log_probability(BijectionField(model), x, cond, self.codec, self.dequantizer, generator)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Carry the data to noise."""
        assert isinstance(batch.x1, Tensor)
        bound = self.bound(model, batch.x1, batch.cond, step.generator)
        return Loss(-bound.mean() / (batch.x1[0].numel() * math.log(2)))

    @torch.no_grad()
    def fit(self, data: Dataset | None, flow: Flow, generator: torch.Generator) -> None:
        """Start the dequantiser at statistics of training rows."""
        if self.dequantizer is None or data is None or self.codec is None:
            return
        rows = torch.randperm(len(data), generator=generator)[:FIRST_ROWS]
        states = flow.encode(data.take(rows).to(flow.device), generator)
        assert isinstance(states.x, Tensor)
        noise = Draw.like(states.x, generator).normal(states.x.shape)
        self.dequantizer.initialise(noise, self.codec.middle(self.codec.level(states.x)), states.cond)

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn; noise must be standard normal.

        Raises:
            IncompatibleError: the source is another, or the space is not flat.
        """
        if not flow.source.gaussian or getattr(flow.source, "std", 1.0) != 1:
            raise IncompatibleError(_NOT_NORMAL)
        if not flow.geometry.flat or not flow.geometry.continuous:
            raise IncompatibleError(_NOT_FLAT)
        return super().turns(flow)

    def conditions(self) -> Mapping[str, Condition]:
        """The temperature, a number for every row."""
        return {TEMPERATURE: Condition(role="setting")}

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The bijection itself."""
        return BijectionField(model, self.path)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Noise that is not standard normal, and spaces that are not flat."""
        source, geometry = parts.get("source"), parts.get("geometry")
        if source is not None and (not source.gaussian or getattr(source, "std", 1.0) != 1):
            yield Clash("objective", "source", _NOT_NORMAL)
        if geometry is not None and not (geometry.flat and geometry.continuous):
            yield Clash("objective", "geometry", _NOT_FLAT)

    @property
    def kind(self) -> Kind:
        """A kind of its own."""
        return KIND
