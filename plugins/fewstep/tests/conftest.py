"""One thread: the tensors are tiny."""

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


class GaussianMean(nn.Module):
    """The exact average velocity from N(0, 1) to N(m, c^2) in one dimension, times ``slope``.

    x_t = m t + r_t z with r_t^2 = (1 - t)^2 + c^2 t^2: the flow keeps z.
    """

    jvp_safe = True

    def __init__(self, m: float = 1.5, c: float = 0.4) -> None:
        super().__init__()
        self.m, self.c = m, c
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def std(self, t):
        return ((1 - t) ** 2 + (self.c * t) ** 2).sqrt()

    def place(self, z, t):
        return self.m * t + self.std(t) * z

    def forward(self, x, s, /, span, **cond):
        z = (x[:, 0] - self.m * s) / self.std(s)
        now = self.m + (s * (1 + self.c**2) - 1) / self.std(s) * z
        wide = span > 1e-9
        mean = (self.place(z, s + span) - x[:, 0]) / torch.where(wide, span, torch.ones_like(span))
        return (self.slope * torch.where(wide, mean, now) + self.shift)[:, None]


@pytest.fixture
def gaussian():
    return GaussianMean
