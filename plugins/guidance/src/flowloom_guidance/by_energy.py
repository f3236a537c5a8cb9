"""Guidance by any energy, at the state or at the data that it implies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.codecs import Codec
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Wrapped
from flowloom.guidance import Guidance
from flowloom.state import Cond, State, expand, first_leaf
from flowloom_guidance.decoded import energy_of, misfits

__all__ = ["ByEnergy"]


class ByEnergy(Guidance, nn.Module):
    r"""Towards low energy, for samples of about :math:`p(x)\,e^{-w J(x)}`.

    .. math:: s = s(x, t) - w\,\nabla_{x_t} J\big(\hat x_1(x_t)\big)

    ``at: data`` asks the energy of the predicted data, through the network (Chung et al. 2209.14687; for
    flows Feng et al. 2502.02150) or with the velocity held still (``through: false``); ``at: state`` asks it
    of the state itself, for energies that know noised states. Either is an approximation: the energy of the
    expected data is not the expected energy. See ``solver: source-guided`` for one that is exact.

    Args:
        energy: J, in nats; in a recipe, the recipe's.
        weight: w; 0 is the field itself.
        at: where the energy is asked.
        through: whether the gradient passes through the network.
        earliest: share of the way before which nothing is done, where the factor from scores to velocities
            has no bound.
        codec: of the flow, by which predicted data are decoded (states are not); in a recipe, the recipe's.
    """

    def __init__(
        self,
        energy: Energy,
        weight: float = 1.0,
        at: Literal["data", "state"] = "data",
        through: bool = True,
        earliest: float = 0.02,
        codec: Codec | None = None,
    ) -> None:
        nn.Module.__init__(self)
        if not math.isfinite(weight) or not 0 <= earliest < 1:
            raise ValueError(f"weight is finite and earliest in [0, 1), got {weight} and {earliest}")
        self.energy, self.codec = energy, codec
        self.weight, self.through, self.earliest = weight, through, earliest
        self.at: Literal["data", "state"] = at

    def __call__(self, field: Field) -> Field:
        """The guided field.

        Raises:
            IncompatibleError: it cannot be read as a score.
        """
        path, kind = field.path, field.kind
        if path is None or not (
            path.converts(kind, "score", field.source) and path.converts("score", kind, field.source)
        ):
            raise IncompatibleError(
                "guidance by an energy adds to scores, and a field of this kind has none; it takes "
                "path: affine with source: gaussian"
            )
        return _Guided(field, self)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An energy of other data (or of other states), or a codec that this rule does not know."""
        if self.at == "state":
            parts = {name: part for name, part in parts.items() if name != "codec"}
        yield from misfits(self.energy, self.decoder, parts, "guidance")

    @property
    def decoder(self) -> Codec | None:
        """What decodes what the energy is asked of."""
        return self.codec if self.at == "data" else None


class _Guided(Wrapped):
    def __init__(self, field: Field, rule: ByEnergy) -> None:
        super().__init__(field)
        self.rule = rule
        self.jvp_safe = False

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """One network call, and a pass back through it where that is asked for."""
        rule, path = self.rule, self.path
        if rule.weight == 0:
            return self.ask(x, t, cond, generator)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ShapeError("guidance by an energy steers one tensor of numbers")
        assert path is not None
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            if rule.at == "data" and rule.through:
                value = self.ask(point, t, cond, generator)
                asked = path.convert(value, point, t, self.kind, "data", self.source)
            else:
                with torch.no_grad():
                    value = self.ask(x, t, cond, generator)
                asked = point
                if rule.at == "data":
                    # Held still is the velocity, whatever the network answers with.
                    held = path.convert(value, x, t, self.kind, "velocity", self.source)
                    asked = path.convert(held, point, t, "velocity", "data", self.source)
            energies = energy_of(rule.energy, rule.decoder, asked, cond)
            (slope,) = torch.autograd.grad(energies.sum(), point)
        assert isinstance(value, Tensor)
        value = value.detach()
        # What a score gains, in the field's own kind: conversions are linear in value and state together.
        first, last = self.span
        late = (first_leaf(t) - first) / (last - first) >= rule.earliest
        pull = expand((-rule.weight * late).to(slope.dtype), x)
        gain = path.convert(slope * pull, torch.zeros_like(x), t, "score", self.kind, self.source)
        assert isinstance(gain, Tensor)
        return value + gain
