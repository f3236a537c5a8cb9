"""Modes are the classes of all of the data, in whatever order these come."""

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom_alignment.modes import Modes


def test_modes_of_rows_sorted_by_class_are_all_classes():
    """Two classes of 20,000 rows one after the other: samples at both spread over both."""
    label = torch.arange(40_000) // 20_000
    x = torch.stack([10.0 * label, torch.zeros(40_000)], 1)
    metric = Modes()
    metric.fit(Tensors(x, {"label": label}))
    samples = Examples(torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 1.0], [0.0, 1.0]]))
    found = metric(samples, samples)
    assert found["modes"] == pytest.approx(2)
    assert found["mode_distance"] == pytest.approx(0.5)
