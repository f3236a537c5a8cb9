"""Guided flows (2311.13443) on digits: one network with and without guidance, and too much of it."""

from __future__ import annotations

import pytest
import torch

from flowloom.flow import Flow
from flowloom.guidance import ClassifierFree
from flowloom.metrics.frechet import frechet_distance
from flowloom.models import MLP
from flowloom.objectives import FlowMatching
from flowloom.solvers import Euler
from flowloom_images.data import Digits

SEEDS = (0, 1, 2)


@pytest.mark.slow
def test_guidance_sharpens_classes_and_too_much_hurts() -> None:
    from sklearn.svm import SVC

    data = Digits()
    real = data.all()
    pixels, labels = real.x.flatten(1), real.cond["label"]
    judge = SVC(gamma=0.02, C=10).fit(pixels.numpy(), labels.numpy())
    wanted = torch.arange(2000) % 10
    rows: dict[float, list[tuple[float, float, float]]] = {1.0: [], 1.5: [], 3.0: []}
    for seed in SEEDS:
        torch.manual_seed(seed)
        flow = Flow(MLP(data.spec, width=256, depth=3), objective=FlowMatching(condition_dropout=0.15))
        flow.fit(data, steps=3000, batch=256, lr=1e-3, ema=0.995, seed=seed)
        for scale, found in rows.items():
            rule = ClassifierFree(scale)
            x = flow.solve(2000, solver=Euler(20), guidance=rule, seed=seed, cond={"label": wanted}).x
            assert isinstance(x, torch.Tensor)
            flat = x.flatten(1)
            wrong = float((judge.predict(flat.numpy()) != wanted.numpy()).mean())
            nearest = float(torch.cdist(flat, pixels).min(1).values.mean())
            found.append((wrong, nearest, frechet_distance(flat.double(), pixels.double())))
    mean = {w: [sum(c) / len(c) for c in zip(*found, strict=True)] for w, found in rows.items()}
    for w, (wrong, nearest, frechet) in mean.items():
        print(f"guided-flows: w = {w}: wrong class {wrong:.4f}, nearest {nearest:.3f}, Frechet {frechet:.2f}")
    assert mean[1.5][0] <= 0.5 * mean[1.0][0]
    assert mean[1.5][1] <= 0.98 * mean[1.0][1]
    assert mean[3.0][2] >= 3 * mean[1.0][2]
