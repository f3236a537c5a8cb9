"""One thread: tensors are tiny. Flows of Gaussian classes, whose velocities are known exactly."""

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.spec import Condition, Spec

MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
STDS = torch.tensor([0.5, 0.8, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


class GaussianClasses(nn.Module):
    """The exact velocity of N(m_c, s_c^2 I) from N(0, I); withheld rows are of the last class."""

    def __init__(self):
        super().__init__()
        self.spec = Spec((2,), conditions={"label": Condition(3)})
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, t, /, **cond):
        label = cond.get("label", torch.full((len(x),), 2))
        label = torch.where(cond.get("null", torch.zeros(len(x), dtype=torch.bool)), 2, label)
        mean, std, t = MEANS[label], STDS[label][:, None], t[:, None]
        var = (1 - t) ** 2 + (t * std) ** 2
        return mean + (t * std**2 - (1 - t)) / var * (x - t * mean) + 0 * self.unused


@pytest.fixture
def flow():
    objective = fl.objectives.FlowMatching(condition_dropout=0.1)
    return fl.Flow(GaussianClasses(), objective=objective)
