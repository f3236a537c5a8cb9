"""What a trained bijection is: a field of its own kind."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.paths import Path
from flowloom.state import Cond, State, expand, sum_event
from flowloom_likelihood.bijections import Bijection, Image

KIND = "bijection"
TEMPERATURE = "temperature"
"""Condition, of role setting, that scales the noise when sampling; 1 where it is not given."""


class BijectionField(Field):
    """A bijection of data and standard normal noise, whose sampling is one evaluation.

    Under ``temperature`` T it is the tempered law, whose noise is N(0, T^2).

    Args:
        bijection: the network.
        path: of the recipe; says on which space states lie.
        noise: standard deviation of the noise that states were given in training, which its law has.
    """

    kind = KIND
    has_density = True

    def __init__(self, bijection: nn.Module, path: Path | None = None, noise: float = 0.0) -> None:
        self.bijection, self.path, self.noise = bijection_of(bijection), path, noise

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Noise to data."""
        assert isinstance(x, Tensor)
        return self.bijection.inverse(self.tempered(x, cond), cond)

    def calls(self, t: float, cond: Cond) -> int:
        """The rounds of the bijection: tokens of a block that makes one after the other, and so on."""
        return self.bijection.rounds

    def tempered(self, z: Tensor, cond: Cond) -> Tensor:
        """Noise ``(batch, *event)`` as the temperature scales it."""
        temperature = cond.get(TEMPERATURE)
        return z if temperature is None else z * expand(temperature.to(z.dtype), z)

    def denoised(self, x: State, cond: Cond) -> Tensor:
        r"""States ``(batch, *event)`` of its law without the noise of training, by its own score.

        .. math:: E[x_{clean} | x] = x + \sigma^2 \nabla_x \log p(x)

        (Tweedie; "Normalizing Flows are Capable Generative Models", 2412.06329, section 2.4).

        Raises:
            IncompatibleError: training gave states no noise.
        """
        if not self.noise:
            raise IncompatibleError(
                "there is no noise to take away; denoise is for objective: noisy-likelihood, noise above 0"
            )
        assert isinstance(x, Tensor)
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            (score,) = torch.autograd.grad(self.log_prob(point, cond).sum(), point)
        return x + self.noise**2 * score

    def pull(self, x: Tensor, cond: Cond) -> Image:
        """Data to noise, and ``log |det|`` of it in nats, ``(batch,)``: the inverse of a call."""
        z, log_det = self.bijection.transform(x, cond)
        temperature = cond.get(TEMPERATURE)
        if temperature is None:
            return z, log_det
        factor = temperature.to(z.dtype)
        return z / expand(factor, z), log_det - math.prod(z.shape[1:]) * factor.log()

    def log_prob(self, x: State, cond: Cond, layout: Layout | None = None) -> Tensor:
        """Exact log density of states in nats, ``(batch,)``.

        Raises:
            IncompatibleError: entries are padding or given.
        """
        if layout is not None:
            raise IncompatibleError("a bijection tells the density of whole states only")
        assert isinstance(x, Tensor)
        z, log_det = self.pull(x, cond)
        return normal_log_prob(z) + log_det

    def energy(self, x: Tensor, cond: Cond) -> Tensor:
        r"""Minus the log density in nats up to a constant, ``(batch,)``; no constant determinant is computed.

        :math:`E(x) = -\log N(f(x); 0, I) - \log|\det|` (2305.15267, equation 6), with what of the determinant
        depends on x (`Bijection.unnormalised`). It does not know the temperature.
        """
        z, log_det = self.bijection.unnormalised(x, cond)
        return -normal_log_prob(z) - log_det

    def log_partition(self, x: Tensor, cond: Cond) -> Tensor:
        """``log Z`` of that energy in nats, ``(batch,)``: what every row of any states ``x`` tells alike."""
        return -(self.bijection.transform(x, cond)[1] - self.bijection.unnormalised(x, cond)[1])


def normal_log_prob(z: Tensor) -> Tensor:
    """``-|z|^2 / 2 - D log sqrt(2 pi)`` of every row, ``(batch,)``."""
    return sum_event(-0.5 * z.square() - 0.5 * math.log(2 * math.pi))


def bijection_of(model: nn.Module) -> Bijection:
    """The model as a bijection.

    Raises:
        IncompatibleError: it is none.
    """
    if not isinstance(model, Bijection):
        raise IncompatibleError(
            f"an exact likelihood needs a bijection as its model (glow), and {type(model).__name__} is none"
        )
    return model
