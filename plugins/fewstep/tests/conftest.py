"""One thread: the tensors are tiny."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)
