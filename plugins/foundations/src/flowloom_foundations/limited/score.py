"""How far the generated clusters' centre is from the true one, and from where the theory says that it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom_foundations.limited.denoiser import TwoClusterDenoiser
from flowloom_foundations.limited.theory import bayes, generated


class CentreError(Score):
    r"""Squared error over d of the mean of generated points, each turned to the side of :math:`\mu`
    (2310.03575).

    ``over_theory`` divides it by the closed form in high dimension, ``over_bayes`` by the error of the
    best estimate that the samples allow.

    Args:
        samples: n, of the training data.
        sigma: of the clusters.
        draws: points to generate.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "centre_error": "lower",
        "over_bayes": "lower",
        "over_theory": "lower",
    }
    about: ClassVar[Mapping[str, str]] = {
        "centre_error": "Squared distance of the generated centre to the true one, over the dimension.",
        "over_bayes": "The same over the error of the posterior mean.",
        "over_theory": "The same over what the theory says of infinitely many dimensions: 1.",
    }

    def __init__(self, samples: int = 8, sigma: float = 0.3, draws: int = 200) -> None:
        if min(samples, draws) < 1 or not 0 < sigma < math.inf:
            raise ValueError(
                f"samples and draws count from 1 and sigma is positive, got {samples}, {draws} and {sigma}"
            )
        self.samples, self.sigma, self.draws = samples, sigma, draws

    def require(self, flow: Flow) -> None:
        """Ask for the denoiser of the theory."""
        if not isinstance(flow.model, TwoClusterDenoiser):
            raise IncompatibleError("score centre-error knows model: two-cluster-denoiser alone")

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``centre_error``, ``over_bayes`` and ``over_theory``."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score centre-error: there is no example to score")
        model = flow.model
        assert isinstance(model, TwoClusterDenoiser)
        x = flow.sample(self.draws, seed=seed)
        assert isinstance(x, Tensor)
        x = x.double()
        centre = (x * x.sum(1, keepdim=True).sign()).mean(0)
        error = float((centre - torch.ones_like(centre)).square().mean())
        theory = generated(self.samples, self.sigma, model.decay, model.steps)
        return {
            "centre_error": error,
            "over_bayes": error / bayes(self.samples, self.sigma),
            "over_theory": error / theory.error(self.samples, self.sigma),
        }
