"""Bijections of vectors: couplings, and an autoregressive one whose conditionals are mixtures."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_likelihood.bijections import Bijection, Image
from flowloom_likelihood.models.started import Started

__all__ = ["MixtureAutoregressive", "VectorCouplings"]

_BISECTIONS = 80
_MOST = 3.0


def _perceptron(size_in: int, width: int, size_out: int) -> nn.Sequential:
    last = nn.Linear(width, size_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    layers = [nn.Linear(size_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()]
    return nn.Sequential(*layers, last)


def _require_vectors(spec: Spec, who: str) -> int:
    if spec.parts or spec.discrete or math.prod(spec.shape) < 2:
        raise ShapeError(
            f"{who} takes one real tensor of two entries at least, and states are {spec.shape or spec.parts}"
        )
    return math.prod(spec.shape)


class VectorCouplings(Started):
    r"""RealNVP on vectors (Dinh et al. 1605.08803): couplings move one half by what they see of the other.

    .. math:: y_a = x_a \odot e^{s(x_b)} + m(x_b), \quad y_b = x_b, \quad \log|\det| = \sum s

    Halves are every second entry, and change places from one coupling to the next; with r what the network
    says, :math:`s = 3 \tanh(r / 3)`. The first layer shifts and scales entries to the moments of training
    rows.

    Args:
        spec: one real tensor; injected from the recipe.
        couplings: how many.
        width: of their networks, two hidden layers each.
        first_rows: training rows whose moments are taken.
    """

    def __init__(self, spec: Spec, couplings: int = 8, width: int = 64, first_rows: int = 512) -> None:
        super().__init__()
        size = _require_vectors(spec, "vector-couplings")
        if min(couplings, width, first_rows) < 1:
            raise ValueError("couplings, width and first_rows must be at least 1")
        self.spec, self.first_rows = spec, first_rows
        self.shift, self.log_scale = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))
        even, odd = torch.arange(0, size, 2), torch.arange(1, size, 2)
        self.register_buffer("even", even, persistent=False)
        self.register_buffer("odd", odd, persistent=False)
        self.nets = nn.ModuleList(
            _perceptron(len(seen), width, 2 * len(moved))
            for seen, moved in [(odd, even), (even, odd)] * -(-couplings // 2)
        )[:couplings]

    def _halves(self, i: int) -> tuple[Tensor, Tensor]:
        """Which entries coupling i sees, and which it moves."""
        assert isinstance(self.even, Tensor)
        assert isinstance(self.odd, Tensor)
        return (self.even, self.odd) if i % 2 else (self.odd, self.even)

    def _said(self, i: int, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.nets[i](x[:, seen]).chunk(2, 1)
        return _MOST * (raw / _MOST).tanh(), shift

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """States to noise of the same shape."""
        y = (x.flatten(1) + self.shift) * self.log_scale.exp()
        total = self.log_scale.sum().expand(len(x))
        for i in range(len(self.nets)):
            seen, moved = self._halves(i)
            log_scale, shift = self._said(i, y, seen)
            y = y.index_copy(1, moved, y[:, moved] * log_scale.exp() + shift)
            total = total + log_scale.sum(1)
        return y.reshape(x.shape), total

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Noise to states."""
        x = z.flatten(1)
        for i in reversed(range(len(self.nets))):
            seen, moved = self._halves(i)
            log_scale, shift = self._said(i, x, seen)
            x = x.index_copy(1, moved, (x[:, moved] - shift) * (-log_scale).exp())
        return (x * (-self.log_scale).exp() - self.shift).reshape(z.shape)

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """The first layer at the moments of ``x``."""
        deviation, mean = torch.std_mean(x.flatten(1), 0, correction=0)
        self.shift.copy_(-mean)
        self.log_scale.copy_(-(deviation + 1e-6).log())
        return self.transform(x, cond)[0]


class MixtureAutoregressive(Bijection):
    r"""An autoregressive model as a bijection: every entry a mixture of logistics given those before it.

    .. math:: p(x) = \prod_i p_i(x_i \mid x_{<i}), \qquad z_i = \Phi^{-1}\big(F_i(x_i \mid x_{<i})\big)

    with :math:`F_i` the distribution function of the mixture :math:`p_i` (the conditionals of PixelCNN++,
    Salimans et al. 1701.05517, without levels). Noise goes to data one entry after the other, by bisection;
    gradients are those of the implicit function. Each entry has a network of its own.

    Args:
        spec: one real tensor; injected from the recipe.
        components: of every mixture.
        width: of the networks, two hidden layers each.
    """

    bf16_safe = False

    def __init__(self, spec: Spec, components: int = 8, width: int = 64) -> None:
        super().__init__()
        size = _require_vectors(spec, "mixture-autoregressive")
        if min(components, width) < 1:
            raise ValueError("components and width must be at least 1")
        self.spec, self.components = spec, components
        # Components start apart: alike they would stay so.
        start = torch.cat(
            [torch.zeros(components), torch.linspace(-2, 2, components), torch.zeros(components)]
        )
        self.start = nn.Parameter(start.repeat(size, 1))
        self.nets = nn.ModuleList(_perceptron(i, width, 3 * components) for i in range(1, size))

    def _mixture(self, i: int, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, places and log scales of entry i, ``(batch, components)`` each."""
        said = self.start[i].expand(len(before), -1)
        if i:
            said = said + self.nets[i - 1](before)
        weight, place, log_scale = said.chunk(3, 1)
        return weight.log_softmax(1), place, log_scale.clamp(-6, 4)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """States to noise of the same shape."""
        flat, noise, total = x.flatten(1), [], x.new_zeros(len(x))
        for i in range(flat.shape[1]):
            z, log_slope = _to_normal(flat[:, i], *self._mixture(i, flat[:, :i]))
            noise.append(z)
            total = total + log_slope
        return torch.stack(noise, 1).reshape(x.shape), total

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Noise to states, one entry after the other."""
        flat = z.flatten(1)
        x = flat[:, :0]
        for i in range(flat.shape[1]):
            mixture = self._mixture(i, x)
            found = _place_of(flat[:, i].detach(), *(v.detach() for v in mixture))
            # One step of Newton's from the root: it moves nothing, and has the gradient of the root.
            there, log_slope = _to_normal(found, *mixture)
            found = found - (there - flat[:, i]) * (-log_slope.detach()).exp()
            x = torch.cat([x, found[:, None]], 1)
        return x.reshape(z.shape)


@torch.no_grad()
def _place_of(wanted: Tensor, weight: Tensor, place: Tensor, log_scale: Tensor) -> Tensor:
    """The inverse of `_to_normal`, by bisection in double precision."""
    weight, place, log_scale = weight.double(), place.double(), log_scale.double()
    reach = 60 * log_scale.exp().amax(1)
    low, high = place.amin(1) - reach, place.amax(1) + reach
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = _to_normal(middle, weight, place, log_scale)[0] > wanted.double()
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return ((low + high) / 2).to(wanted.dtype)


def _to_normal(x: Tensor, weight: Tensor, place: Tensor, log_scale: Tensor) -> Image:
    """Where a mixture of logistics carries its points, to be standard normal, and the log slope there."""
    u = (x[:, None] - place) * (-log_scale).exp()
    below = (weight + nn.functional.logsigmoid(u)).logsumexp(1)
    above = (weight + nn.functional.logsigmoid(-u)).logsumexp(1)
    # Of the two tails the smaller one has its digits.
    left = below < above
    tail = torch.where(left, below, above).exp().clamp_min(torch.finfo(x.dtype).tiny)
    z = torch.special.ndtri(tail)
    z = torch.where(left, z, -z)
    log_density = (weight - log_scale + nn.functional.logsigmoid(u) + nn.functional.logsigmoid(-u)).logsumexp(
        1
    )
    return z, log_density + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)
