"""A Gaussian of full covariance as a bijection: what a flow has to beat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.errors import DataError, ShapeError
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_likelihood.bijections import Bijection, Image

if TYPE_CHECKING:
    from flowloom.flow import Flow


class LinearGaussian(Bijection):
    r"""The Gaussian with mean and covariance of the training states, fitted and not trained.

    .. math:: z = L^{-1}(x - \mu), \qquad L L^\top = \Sigma, \qquad \log|\det| = -\sum_i \log L_{ii}

    Recipes set ``train: {steps: 0}``.

    Args:
        spec: of real-valued states; injected from the recipe.
        ridge: added to every variance, as a share of their mean.
    """

    jvp_safe = True
    bf16_safe = False
    mean: Tensor
    factor: Tensor

    def __init__(self, spec: Spec, ridge: float = 1e-4) -> None:
        super().__init__()
        if spec.discrete or spec.parts:
            raise ShapeError("a Gaussian is a law of one tensor of real values")
        if not 0 <= ridge < math.inf:
            raise ValueError(f"ridge is finite and not negative, got {ridge}")
        self.spec, self.ridge = spec, ridge
        self.register_buffer("mean", torch.zeros(spec.numel()))
        self.register_buffer("factor", torch.eye(spec.numel()))

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Whiten."""
        centred = (x.flatten(1) - self.mean).T
        z = torch.linalg.solve_triangular(self.factor, centred, upper=False).T
        return z.reshape(x.shape), -self.factor.diagonal().log().sum().expand(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Colour."""
        return (z.flatten(1) @ self.factor.T + self.mean).reshape(z.shape)

    @torch.no_grad()
    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure all training states.

        Raises:
            DataError: there are not two rows.
        """
        if data is None or len(data) < 2:
            raise DataError("a Gaussian is fitted to data, and this recipe has none")
        examples = data.all().to(self.mean.device)
        states = examples if flow is None else flow.encode(examples, generator)
        assert isinstance(states.x, Tensor)
        x = states.x.flatten(1).double()
        covariance = torch.atleast_2d(x.T.cov())
        covariance.diagonal().add_(self.ridge * covariance.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed):
            raise DataError(
                "the data do not vary, or not in every direction: no Gaussian is fitted; raise ridge"
            )
        self.mean.copy_(x.mean(0))
        self.factor.copy_(factor)
