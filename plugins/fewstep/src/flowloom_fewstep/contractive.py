"""A residual beside a frozen flow that draws neighbouring ways together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding, Model, TimeEmbedding, speak_for
from flowloom.spec import Spec
from flowloom.state import State, Time

__all__ = ["ContractiveResidual"]


class ContractiveResidual(nn.Module):
    r"""A frozen network of velocities plus a term whose own dynamics contract (2510.02081, ResFT-FM).

    .. math::
        v = v_{base}(x, t) - \big(B^\top B + \varepsilon I\big) x + \varepsilon\, g(x, t) + h(t), \qquad
        \mathrm{Lip}_x\, g \le 1

    with B of low rank, g and h functions of time and conditions, so that the symmetric part of the term's
    Jacobian is at most :math:`-B^\top B \le 0` whatever was learned: two ways that the term alone moves never
    part. g is two layers of spectral norm 1 about a hyperbolic tangent. At the beginning the term is all but
    0. The paper asks for this by a matrix inequality whose parametrisation was not at hand: this one is ours.

    Args:
        spec: of the states, one real tensor; injected from the recipe.
        network: the flow before, ``{run: base, part: model}``, frozen.
        width: of g, h and B.
        rank: rows of B.

    Raises:
        IncompatibleError: states are tokens or have parts.
        ValueError: a size is less than 1.
    """

    conditional = True

    def __init__(self, spec: Spec, network: Model, width: int = 64, rank: int = 2) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if spec.parts or spec.discrete:
            raise IncompatibleError(
                "contractive-residual is linear in its states; they are tokens or have parts"
            )
        if min(width, rank) < 1:
            raise ValueError(f"width and rank must be at least 1, got {width} and {rank}")
        self.spec, self.network = spec, network
        network.requires_grad_(False)
        size = spec.numel()
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(spec.conditions, width)
        self.into = spectral_norm(nn.Linear(size, width, bias=False))
        self.shift = nn.Linear(width, width)
        self.out = spectral_norm(nn.Linear(width, size, bias=False))
        self.free = nn.Linear(width, size)
        self.draw = nn.Linear(width, rank * size)
        self.strength = nn.Parameter(torch.tensor(-4.0))  # softplus: epsilon begins at 0.02
        for layer, spread in ((self.free, 0.0), (self.draw, 1e-2)):
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        speak_for(self, network)

    def residual(self, x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The term alone, in the shape of ``x``."""
        flat = x.flatten(1)
        told = nn.functional.silu(self.time(t) + self.condition(cond, len(x)))
        b = self.draw(told).unflatten(1, (-1, flat.shape[1]))
        drawn = torch.einsum("nri,nrj,nj->ni", b, b, flat)
        epsilon = nn.functional.softplus(self.strength)
        inner = self.out(torch.tanh(self.into(flat) + self.shift(told)))
        out: Tensor = self.free(told) - drawn - epsilon * (flat - inner)
        return out.reshape(x.shape)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> State:
        """The velocity ``(batch, *event)``."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        base: Tensor = self.network(x, t, **cond)
        return base + self.residual(x, t, cond)
