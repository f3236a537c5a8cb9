"""Training by exact likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Kind
from flowloom.objectives import Batch, Loss, Objective, Step, Turn
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.spec import Condition
from flowloom_likelihood.field import KIND, TEMPERATURE, BijectionField

if TYPE_CHECKING:
    from flowloom.flow import Flow


_NOT_NORMAL = (
    "exact-likelihood carries data to N(0, I); use source: gaussian with std 1 "
    "(samples take --cond temperature=0.7)"
)
_NOT_FLAT = "exact-likelihood is for flat states; use geometry: euclidean"


class ExactLikelihood(Objective):
    r"""The negative log density of the states under a bijection, in bits for every dimension.

    .. math:: L = -\frac{1}{D \ln 2} E\big[\log N(f(x); 0, I) + \log|\det \partial f/\partial x|\big]

    (1807.03039, equations 1 to 3). Bits per dimension of the *data* are those plus log2 of the number of
    levels; the score ``bits-per-dim`` says them. Sampling takes a setting ``temperature``.

    Args:
        path: of the recipe, whose geometry the states lie on; there are no times and no points between.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Carry the data to noise."""
        assert isinstance(batch.x1, Tensor)
        density = BijectionField(model).log_prob(batch.x1, batch.cond)
        return Loss(-density.mean() / (batch.x1[0].numel() * math.log(2)))

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
