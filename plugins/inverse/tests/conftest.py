"""One thread: tensors are tiny. A Gaussian flow whose posteriors are known exactly."""

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.spec import Spec


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


class GaussianVelocity(nn.Module):
    """The exact velocity of data N(mean, covariance) from N(0, I) on the straight path."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.spec = Spec(tuple(mean.shape))
        self.register_buffer("mean", mean)
        values, vectors = torch.linalg.eigh(covariance)
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)
        self.unused = nn.Parameter(torch.zeros((), dtype=mean.dtype))

    def forward(self, x, t, /, **cond):
        t = t[:, None]
        off = (x - t * self.mean) @ self.vectors
        var = (1 - t) ** 2 + t**2 * self.values
        slope = (t * self.values - (1 - t)) / var
        return self.mean + (slope * off) @ self.vectors.T + 0 * self.unused


@pytest.fixture
def gaussian():
    """A flow of Gaussian data in 6 dimensions, with mean and covariance, in float64."""
    draws = torch.Generator().manual_seed(3)
    root = torch.randn(6, 6, generator=draws, dtype=torch.float64) / 6**0.5
    mean, covariance = torch.linspace(-1, 1, 6, dtype=torch.float64), root @ root.T + 0.05 * torch.eye(6)
    return fl.Flow(GaussianVelocity(mean, covariance)), mean, covariance
