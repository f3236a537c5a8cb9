"""One thread: the tensors are tiny. A Gaussian whose velocity is known exactly, and may be shifted."""

import pytest
import torch
from torch import nn

import flowloom as fl


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


class Gaussian(nn.Module):
    """The velocity from N(0, 1) to N(m, c^2 I), plus a learned shift."""

    def __init__(self, m=1.5, c=0.4, dim=2, conditions=None):
        super().__init__()
        self.spec = fl.Spec((dim,), conditions=conditions or {})
        self.m, self.c = m, c
        self.shift = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, x, t, /, **cond):
        t = t[:, None]
        var = (1 - t) ** 2 + (t * self.c) ** 2
        return self.m + (t * self.c**2 - (1 - t)) / var * (x - t * self.m) + self.shift


@pytest.fixture
def gaussian():
    return Gaussian


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)
