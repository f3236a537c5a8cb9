"""Energies: densities known up to a constant, to be sampled, climbed or steered by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["Energy", "GaussianMixture", "misfit", "require_energy"]


class Energy(ABC):
    r"""A function of a state in nats, with :math:`p(x | c) \propto e^{-E(x, c)}`.

    Physical energies over kT, minus log rewards, minus log likelihoods of a measurement: what they have in
    common is one number a row, and, on continuous spaces, a gradient. An energy with parameters derives from
    ``nn.Module`` as well.

    Attributes:
        spec: of the states it takes; None where any will do.
        log_partition: :math:`\log \int e^{-E}`, where it is known and does not depend on conditions.
    """

    spec: Spec | None = None
    log_partition: float | None = None

    @abstractmethod
    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Energies ``(batch,)`` of states ``(batch, *event)``, differentiable in continuous ones."""


def misfit(energy: Energy, spec: Spec, who: str) -> str:
    """Why an energy is not of such states, in one line; empty where it is, or where any will do.

    Args:
        energy: any.
        spec: of the states that it would be asked of.
        who: has them, in the message.
    """
    told = energy.spec
    if told is None or _states(told) == _states(spec):
        return ""
    return (
        f"{who} has {spec.in_words()}, and energy {type(energy).__name__} is of {told.in_words()}; "
        "make the one like the other"
    )


def require_energy(energy: Energy, spec: Spec, who: str) -> None:
    """Ask that an energy is of such states.

    Raises:
        IncompatibleError: they differ in shape or vocabulary, which broadcasting or a table might not notice.
    """
    if message := misfit(energy, spec, who):
        raise IncompatibleError(message)


def _states(spec: Spec) -> list[tuple[str, tuple[int, ...], int | None]]:
    return [(name, tuple(leaf.shape), leaf.vocab) for name, leaf in spec.leaves()]


class GaussianMixture(Energy):
    r"""``-log`` of a mixture of isotropic Gaussians: normalised, so that its log partition is 0.

    .. math:: E(x) = -\log \sum_k w_k\, N(x; \mu_k, s_k^2 I)

    Args:
        means: ``(k, d)``.
        stds: one number, or one for every component.
        weights: one for every component, positive; equal where left out.
    """

    log_partition = 0.0

    def __init__(
        self,
        means: Sequence[Sequence[float]] = ((-2.0, 0.0), (2.0, 0.0)),
        stds: float | Sequence[float] = 0.5,
        weights: Sequence[float] = (),
    ) -> None:
        # Settings, not weights: they are numbers wherever the network is built, on the meta device too.
        self.means = torch.as_tensor(means, dtype=torch.float64, device="cpu")
        if self.means.ndim != 2 or not self.means.numel():
            raise ValueError(f"means must be rows of numbers, one a component, got {means}")
        k = len(self.means)
        self.stds = torch.as_tensor(stds, dtype=torch.float64, device="cpu").expand(k)
        raw = torch.as_tensor(weights or [1.0] * k, dtype=torch.float64, device="cpu")
        if raw.shape != (k,) or bool((raw <= 0).any()) or bool((self.stds <= 0).any()):
            raise ValueError(f"give a positive weight and std for each of the {k} components")
        self.weights = raw / raw.sum()
        self.spec = Spec(shape=(self.means.shape[1],))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the log density of every row."""
        assert isinstance(x, Tensor)
        means, stds, weights = (v.to(x) for v in (self.means, self.stds, self.weights))
        squares = (x[:, None] - means).square().sum(-1)
        logs = -0.5 * squares / stds.square() - x.shape[1] * (stds * math.sqrt(2 * math.pi)).log()
        return -torch.logsumexp(logs + weights.log(), 1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` exact draws ``(n, d)``, to judge samplers by."""
        k = torch.multinomial(self.weights, n, True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        draws: Any = self.means[k] + self.stds[k, None] * noise
        return draws.to(torch.get_default_dtype())
