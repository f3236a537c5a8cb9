"""Two U-Nets side by side, and the U-Net whose layers preserve magnitudes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.spec import Condition, Spec
from flowloom_images.models import EDM2UNet, TwinUNet

LABELS = {"label": Condition(10)}


def awake(model: nn.Module) -> nn.Module:
    """Weights that do not start at zero."""
    generator = torch.Generator().manual_seed(3)
    for p in model.parameters():
        if not p.detach().any():
            p.data.normal_(0, 0.3, generator=generator)
    return model.double()


def images(n: int = 2, size: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def twins():
    torch.manual_seed(0)
    spec = Spec((3, 8, 8), conditions=LABELS)
    return awake(TwinUNet(spec, 16, (1, 2), 1, attention=(4,), ratio=2, head_width=8))


def test_states_are_read_once_and_told_at_every_place(twins):
    x, y, t = images(), images().flip(0), torch.tensor([0.2, 0.7], dtype=torch.float64)
    told = twins.features(x, t, {"label": torch.tensor([1, 2])})
    assert len(told) == 1 + 2 + 4  # two blocks on the way down, four on the way up
    assert twins.head(y, t, told).shape == y.shape
    plain = twins.head(y, t, told)
    for name in told:  # each of them is heard
        other = {**told, name: told[name].roll(1, 0)}
        assert float((twins.head(y, t, other) - plain).detach().abs().max()) > 1e-6, name


def test_a_law_told_the_state_of_another_row_is_that_row_s(twins):
    """The wrong twin: features in another order belong to other states, and to nothing else."""
    x, y = images(3), images(1).expand(3, -1, -1, -1)
    t, tau = torch.full((3,), 0.4, dtype=torch.float64), torch.full((3,), 0.6, dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    told = twins.features(x, t, {})
    wrong = {name: value[order] for name, value in told.items()}
    right = twins.head(y, tau, told)
    assert torch.allclose(twins.head(y, tau, wrong), right[order])
    assert float((right - right[order]).abs().max()) > 1e-3


def test_the_mean_velocity_is_that_of_no_inner_state_at_no_inner_time(twins):
    x, t = images(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    told = twins.features(x, t, {})
    assert torch.equal(twins(x, t), twins.head(torch.zeros_like(x), torch.zeros_like(t), told))
    with pytest.raises(ValueError, match="twice the ratio"):
        TwinUNet(Spec((3, 8, 8)), 16, ratio=3)


def edm2(**options) -> EDM2UNet:
    torch.manual_seed(0)
    told = {"width": 16, "multipliers": (1, 2), "blocks": 1, "attention": (8,), "head_width": 8, **options}
    return EDM2UNet(Spec((3, 16, 16), conditions=LABELS), **told)


@pytest.mark.parametrize(("width", "millions"), [(128, 124.7), (192, 280.2), (256, 497.8)])
def test_edm2_has_the_paper_s_sizes(width, millions):
    """2312.02696, table 2, ImageNet-512: XS, S and M. Its 128 weights that estimate the loss are not here."""
    with torch.device("meta"):
        model = EDM2UNet(Spec((4, 64, 64), conditions={"label": Condition(1000)}), width)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


def test_magnitudes_are_kept_whatever_the_weights_are():
    """Features of a unit image have unit size at every block, and the lengths of weights are not seen."""
    model, sizes = edm2().double(), []
    with torch.no_grad():
        model.gain.fill_(1)
    x, t = images(64, 16), torch.rand(64, dtype=torch.float64)
    hooks = [
        block.register_forward_hook(lambda *of: sizes.append(float(of[2].square().mean().sqrt())))
        for block in (*model.down, *model.middle, *model.up)
    ]
    first = model(x, t, label=torch.arange(64) % 10)
    for hook in hooks:
        hook.remove()
    assert len(sizes) == len(hooks)
    assert max(abs(size - 1) for size in sizes) < 0.35
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("weight"):
                p.mul_(7)
    again = model(x, t, label=torch.arange(64) % 10)
    assert torch.allclose(first, again, rtol=0.01, atol=1e-3)
    assert float(first.std()) == pytest.approx(1, abs=0.35)


def test_edm2_starts_at_zero_and_hears_times_classes_and_settings():
    model = edm2()
    x, t = images(2, 16).float(), torch.tensor([0.1, 0.9])
    assert not model(x, t).any()
    model = awake(model).float()
    label, off = torch.tensor([3, 4]), torch.tensor([True, True])
    plain = model(x, t, label=label)
    assert not torch.allclose(plain, model(x, t.flip(0), label=label), atol=1e-4)
    assert not torch.allclose(plain, model(x, t, label=label.flip(0)), atol=1e-4)
    assert torch.allclose(model(x, t, label=label, null=off), model(x, t), atol=1e-5)
    settings = {"span": Condition(role="setting")}
    steered = awake(EDM2UNet(Spec((3, 16, 16), conditions=settings), 16, (1, 2), 1, (8,), 8)).float()
    assert not torch.allclose(steered(x, t, span=t), steered(x, t, span=0 * t), atol=1e-4)
    with pytest.raises(ShapeError, match="span"):
        steered(x, t)
    with pytest.raises(IncompatibleError, match="one class a row"):
        EDM2UNet(Spec((3, 16, 16), conditions={"text": Condition(shape=(4,))}), 16)
