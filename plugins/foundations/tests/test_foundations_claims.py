"""Digits by sorting (2305.02164), beside pixels that know nothing of each other; ``-s`` shows figures."""

import pytest
import torch

from flowloom.data import Examples
from flowloom_foundations.metrics import Novelty
from flowloom_images.data import Digits
from flowloom_images.metrics import ClassAccuracy


def pixel_by_pixel(data, labels, seed):
    """Digits of the labels whose pixels are independent Gaussians with the moments of their class."""
    train, draws = data.take(torch.arange(len(data))), torch.Generator().manual_seed(seed)
    x = torch.zeros(len(labels), *train.x.shape[1:])
    for label in range(10):
        rows, wanted = train.x[train.cond["label"] == label], labels == label
        noise = torch.randn(int(wanted.sum()), *x.shape[1:], generator=draws)
        x[wanted] = rows.mean(0) + rows.std(0) * noise
    return Examples(x, {"label": labels})


@pytest.mark.slow
def test_digits_by_sorting_are_near_the_data_of_their_class_and_no_copies(figures):
    """2305.02164: near the floor without a network or gradient; wrong half as often as independent pixels.

    A Gaussian a class with its full covariance is surer of the class than these samples are.
    """
    found = figures("cswf-digits")
    data, judge = Digits(), ClassAccuracy()
    judge.fit(data)
    test = data.split("test")
    real = test.take(torch.arange(len(test)))
    plain = [
        judge(pixel_by_pixel(data, real.cond["label"], seed), real)["class_accuracy"] for seed in (0, 1, 2)
    ]
    print(f"\nindependent pixels: class accuracy {sum(plain) / 3:.4g} ({plain})")
    assert found["sliced_wasserstein"] <= 1.3 * found["floor/sliced_wasserstein"]
    assert 1 - found["class_accuracy"] <= 0.5 * (1 - sum(plain) / 3)
    assert found["class_accuracy"] >= 0.9
    novelty = Novelty()
    novelty.fit(data)
    assert found["novelty"] >= 0.9 * novelty(real, real)["novelty"]
