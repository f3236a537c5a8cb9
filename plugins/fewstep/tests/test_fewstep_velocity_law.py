"""Laws of velocities against the Gaussian case, whose inner and outer flows are closed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.errors import IncompatibleError
from flowloom.fields import NetworkField
from flowloom.geometry import Sphere
from flowloom.models import MLP
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath
from flowloom.solvers import Euler
from flowloom.spec import Condition, Spec
from flowloom_fewstep.nested_dit import NestedDiT
from flowloom_fewstep.nested_mlp import NestedMLP, NestedModel
from flowloom_fewstep.velocity_law import VelocityLaw

M, C = 1.5, 0.4


class Exact(NestedModel):
    """The inner flow of ``p(x1 - x0 | x_t)`` for N(0, 1) to N(M, C^2): all of it is Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.passes = 0

    def features(self, x, t, cond):
        self.passes += 1
        variance = (1 - t) ** 2 + (C * t) ** 2
        gain = (t * C**2 - (1 - t)) / variance
        mean = M + gain * (x[:, 0] - M * t)
        return torch.stack([mean, 1 + C**2 - gain**2 * variance], 1)

    def head(self, y, tau, features):
        mean, spread = features.unbind(1)
        gain = (tau * spread - (1 - tau)) / ((1 - tau) ** 2 + tau**2 * spread)
        return (self.slope * (mean + gain * (y[:, 0] - tau * mean)))[:, None]


@pytest.mark.parametrize("options", [{}, {"grid": 4, "draws": 2}], ids=["uniform times", "grid"])
def test_the_law_of_velocities_is_where_the_gradient_vanishes(options, draws):
    n = 100_000
    x0, x1 = torch.randn(2, n, 1, generator=draws, dtype=torch.float64)
    model, objective = Exact(), VelocityLaw(**options)

    def slope() -> float:
        loss = objective.loss(model, Batch(x0, M + C * x1), Step(generator=torch.Generator().manual_seed(2)))
        return float(torch.autograd.grad(loss.total, model.slope)[0])

    assert abs(slope()) < 0.02
    assert model.passes == 1  # of the trunk, whatever the draws
    with torch.no_grad():
        model.slope.fill_(1.2)
    assert slope() > 0.3


def test_drawn_velocities_keep_the_variance_that_mean_ones_lose(draws):
    """Four steps of either, with exact networks: the paper's argument for transitions."""
    model = Exact().requires_grad_(False)
    x0 = torch.randn(50_000, 1, generator=draws, dtype=torch.float64)
    drawn = Euler(4).solve(VelocityLaw(inner_steps=50).field(model), x0, generator=draws)
    mean = Euler(4).solve(NetworkField(model, "velocity", AffinePath()), x0)
    assert float(drawn.x.mean()) == pytest.approx(M, abs=0.02)
    # By hand: a step of 1/4 from the last time, where the drawn law is the path's own.
    assert float(drawn.x.std()) == pytest.approx(C, rel=0.08)
    assert float(mean.x.std()) < 0.85 * C
    assert drawn.nfe == 4 * 50


def test_the_mean_velocity_is_the_inner_flow_s_at_0():
    model, x = Exact(), torch.tensor([[0.3], [1.0]], dtype=torch.float64)
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    assert torch.allclose(model(x, t)[:, 0], model.features(x, t, {})[:, 0])


def test_every_parameter_is_trained_and_wrong_networks_are_refused(draws):
    torch.manual_seed(0)
    model, batch = NestedMLP(Spec((2,)), width=8, depth=2, head_width=8), Batch(*torch.randn(2, 16, 2))
    VelocityLaw().loss(model, batch, Step(generator=draws)).total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    with pytest.raises(IncompatibleError, match="nested-mlp"):
        VelocityLaw().loss(MLP(Spec((2,)), width=8, depth=1), batch, Step())
    with pytest.raises(ValueError, match="head_depth must be at least 1"):
        NestedMLP(Spec((2,)), head_depth=0)
    with pytest.raises(IncompatibleError, match="spaces differ"):
        VelocityLaw(GeodesicPath(Sphere(2)))


def captioned() -> NestedDiT:
    torch.manual_seed(0)
    spec = Spec((2, 4, 4), conditions={"text": Condition(shape=(3, 5)), "label": Condition(10)})
    model = NestedDiT(spec, width=16, depth=2, heads=2, head_width=8, head_depth=2).double()
    for p in model.parameters():
        if not p.detach().any():
            p.data.normal_(0, 0.3)
    return model


def test_the_head_draws_every_token_by_itself_and_the_trunk_sees_all(draws):
    model = captioned()
    x, y = torch.randn(2, 3, 2, 4, 4, generator=draws, dtype=torch.float64)
    t = torch.rand(3, generator=draws, dtype=torch.float64)
    told = model.features(x, t, {})
    assert told.shape == (3, 4, 16)
    plain, corner = model.head(y, t, told), y.clone()
    corner[..., :2, :2] += 1
    moved = (model.head(corner, t, told) - plain).detach().abs()
    assert float(moved[..., :2, :2].min()) > 0
    assert float(moved[..., 2:, :].max()) == float(moved[..., :, 2:].max()) == 0
    corner = x.clone()
    corner[..., :2, :2] += 1
    assert float((model.features(corner, t, {}) - told).abs().amin((0, 2)).min()) > 0


def test_the_trunk_reads_text_and_a_withheld_text_is_none(draws):
    model = captioned()
    x = torch.randn(2, 2, 4, 4, generator=draws, dtype=torch.float64)
    text = torch.randn(2, 3, 5, generator=draws, dtype=torch.float64)
    t, off = torch.rand(2, generator=draws, dtype=torch.float64), torch.tensor([True, False])
    read, none = model.features(x, t, {"text": text}), model.features(x, t, {})
    half = model.features(x, t, {"text": text, "null_text": off})
    assert torch.allclose(half[0], none[0])
    assert torch.allclose(half[1], read[1])
    assert float((read - none).abs().max()) > 1e-3
    VelocityLaw(grid=4, draws=2).loss(model, Batch(x, x.flip(0), {"text": text}), Step()).total.backward()
    unread = {n for n, p in model.named_parameters() if p.grad is None}
    assert unread == {"trunk.condition.embed.of_label.weight"}  # the class was not told
    with pytest.raises(IncompatibleError, match="give null for none"):
        NestedDiT(Spec((2, 4, 4)))


def test_a_head_told_maps_as_parts_is_told_them_at_every_draw():
    """Features may be several tensors, as those of a U-Net are."""

    class Maps(Exact):
        def features(self, x, t, cond):
            return {
                "mean": super().features(x, t, cond)[:, :1],
                "spread": super().features(x, t, cond)[:, 1:],
            }

        def head(self, y, tau, features):
            return super().head(y, tau, torch.cat([features["mean"], features["spread"]], 1))

    pair = Batch(*torch.randn(2, 64, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    found = [
        VelocityLaw(draws=3).loss(model, pair, Step(generator=torch.Generator().manual_seed(2))).total
        for model in (Exact(), Maps())
    ]
    assert torch.equal(*found)
