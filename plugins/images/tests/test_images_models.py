"""Backbones: shapes, derivatives, conditions, sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.models import Model
from flowloom.models.attention import attend
from flowloom.spec import Condition, Spec
from flowloom_images.models import DDPMPlusPlus, DiT, DiTCritic, UNet
from flowloom_images.models.dit import sincos_positions

LABELS = {"label": Condition(5)}


def spec(*shape: int, conditions=LABELS) -> Spec:
    return Spec(shape=shape, conditions=conditions)


def unet(shape=(2, 8, 12), conditions_of_data=LABELS, **options) -> UNet:
    defaults = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "head_width": 8}
    return UNet(spec(*shape, conditions=conditions_of_data), **{**defaults, **options})


def dit(shape=(2, 8, 12), conditions_of_data=LABELS, **options) -> DiT:
    data = spec(*shape, conditions=conditions_of_data)
    return DiT(data, **{"width": 16, "depth": 2, "heads": 2, **options})


TWO_TIMES = {**LABELS, "s": Condition(role="setting")}


BOTH = pytest.mark.parametrize("make", [unet, dit])


def awake(model: nn.Module, std: float = 0.05) -> nn.Module:
    """The model in double precision with nothing left at zero."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model.double().eval()


def inputs(batch: int = 3, shape=(2, 8, 12)):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *shape, generator=g, dtype=torch.float64)
    return x, torch.rand(batch, generator=g, dtype=torch.float64), torch.arange(batch) % 5


@BOTH
def test_shape_and_zero_start(make):
    model = make()
    x, t, label = inputs()
    out = model(x.float(), t.float(), label=label)
    assert out.shape == x.shape
    assert out.abs().max() == 0
    assert isinstance(model, Model)
    assert make(out_channels=5)(x.float(), t.float(), label=label).shape == (3, 5, 8, 12)


@BOTH
def test_every_parameter_learns(make):
    model = awake(make())
    x, t, label = inputs()
    null = torch.tensor([True, False, False])
    model(x, t, label=label, null=null).square().mean().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


@BOTH
@pytest.mark.parametrize("two_times", [False, True])
def test_forward_mode_is_the_derivative(make, two_times):
    model = awake(make(conditions_of_data=TWO_TIMES if two_times else LABELS))
    x, t, label = inputs()
    more = {"s": 0.3 * t} if two_times else {}

    def f(x, t):
        return model(x, t, label=label, **more)

    v, w = torch.randn_like(x), torch.ones_like(t)
    _, slope = torch.func.jvp(f, (x, t), (v, w))
    h = 1e-6
    numeric = (f(x + h * v, t + h * w) - f(x - h * v, t - h * w)) / (2 * h)
    torch.testing.assert_close(slope, numeric, rtol=1e-4, atol=1e-6 * slope.abs().max().item())
    assert slope.abs().max() > 0


@BOTH
def test_forward_mode_under_vmap_is_the_jacobian(make):
    model = awake(make(shape=(1, 4, 4)))
    x, t, label = inputs(2, (1, 4, 4))

    def f(x):
        return model(x, t, label=label)

    directions = torch.randn(3, *x.shape, dtype=torch.float64)
    together = torch.vmap(lambda v: torch.func.jvp(f, (x,), (v,))[1])(directions)
    apart = torch.stack([torch.func.jvp(f, (x,), (v,))[1] for v in directions])
    torch.testing.assert_close(together, apart)


@BOTH
def test_gradients_flow_through_a_forward_derivative(make):
    # As in MeanFlow: the loss is taken of a jvp whose primal and tangent both lead back to the weights.
    model = awake(make())
    x, t, label = inputs()
    y, dy = torch.func.jvp(lambda x: model(x, t, label=label), (x,), (torch.ones_like(x),))
    (y + dy).square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@BOTH
def test_rows_are_independent(make):
    model = awake(make())
    x, t, label = inputs(4)
    whole = model(x, t, label=label)
    torch.testing.assert_close(model(x[1:2], t[1:2], label=label[1:2]), whole[1:2])


@BOTH
def test_null_rows_forget_their_label(make):
    model = awake(make(), std=0.2)
    x, t, label = inputs()
    null = torch.tensor([True, False, True])
    some = model(x, t, label=label, null=null)
    given, withheld = model(x, t, label=label), model(x, t)
    torch.testing.assert_close(some[~null], given[~null])
    torch.testing.assert_close(some[null], withheld[null])
    assert (given - withheld).abs().max() > 1e-6
    own = model(x, t, label=label, null_label=torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(own, withheld)


@BOTH
def test_time_and_label_matter_and_unread_conditions_do_not(make):
    x, t, label = inputs()
    model = awake(make(), std=0.2)
    assert model.conditional
    assert (model(x, t, label=label) - model(x, t + 0.01, label=label)).abs().max() > 1e-8
    blind = awake(make(conditions=[]))
    assert not blind.conditional
    assert torch.equal(blind(x, t, label=label), blind(x, t, label=label * 0))
    with pytest.raises(IncompatibleError, match="no condition 'text'; they have: label"):
        make(conditions=["text"])


@BOTH
def test_two_times(make):
    model = awake(make(conditions_of_data=TWO_TIMES))
    x, t, label = inputs()
    assert (model(x, t, s=t, label=label) - model(x, t, s=0 * t, label=label)).abs().max() > 1e-8
    with pytest.raises(ShapeError, match="steered by 's'"):
        model(x, t, label=label)


@BOTH
def test_half_precision(make):
    model = awake(make())
    x, t, label = inputs()
    exact = model(x, t, label=label)
    half = model.bfloat16()(x.bfloat16(), t.float(), label=label)
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).norm() < 0.05 * exact.norm() + 1e-3
    model = model.float()
    with torch.autocast("cpu", torch.bfloat16):
        model(x.float(), t.float(), label=label).float().sum().backward()


@BOTH
@pytest.mark.slow
def test_compiles_to_the_same(make):
    model = awake(make()).float()
    x, t, label = inputs()
    x, t = x.float(), t.float()
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(x, t, label=label), model(x, t, label=label), rtol=1e-4, atol=1e-5)
    assert compiled(x, t, label=label).requires_grad


def test_attention_is_softmax_attention_either_way():
    q, k, v = torch.randn(3, 2, 4, 7, 5, dtype=torch.float64)
    by_hand = torch.softmax(q @ k.mT / 5**0.5, -1) @ v
    torch.testing.assert_close(attend(q, k, v), by_hand)
    primal, _ = torch.func.jvp(lambda q: attend(q, k, v), (q,), (q,))
    torch.testing.assert_close(primal, by_hand)


def test_no_images_no_backbone():
    for model in (UNet, DiT, DDPMPlusPlus):
        with pytest.raises(IncompatibleError, match="real values"):
            model(Spec(shape=(2,)))
        with pytest.raises(IncompatibleError, match="tokens"):
            model(Spec(shape=(1, 8, 8), vocab=4))
        with pytest.raises(IncompatibleError, match="parts"):
            model(Spec(parts={"a": Spec(shape=(1, 8, 8))}))


def test_unet_refuses_what_it_cannot_halve():
    with pytest.raises(IncompatibleError, match="28 x 28 is not divisible by 8"):
        unet((1, 28, 28), multipliers=(1, 1, 1, 1))
    unet((1, 28, 28), multipliers=(1, 1, 1))
    with pytest.raises(ValueError, match="attention heads"):
        unet(heads=3)


@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("resample_blocks", [True, False])
def test_unet_options(scale_shift, resample_blocks):
    model = awake(
        unet(
            (3, 16, 8),
            multipliers=(1, 2, 2),
            blocks=2,
            scale_shift=scale_shift,
            resample_blocks=resample_blocks,
        )
    )
    x, t, label = inputs(2, (3, 16, 8))
    assert model(x, t, label=label).shape == x.shape


def test_unet_attends_where_told():
    def count(model):
        return sum(type(m).__name__ == "AttentionBlock" for m in model.modules())

    assert count(unet((1, 16, 16), multipliers=(1, 1, 1), attention=())) == 1  # the middle
    assert count(unet((1, 16, 16), multipliers=(1, 1, 1), attention=(), middle_attention=False)) == 0
    # One after the block on the way down and after each of two on the way up.
    assert count(unet((1, 16, 16), multipliers=(1, 1, 1), attention=(8,))) == 1 + 3


def test_dropout_only_in_training():
    model = awake(unet(dropout=0.5))
    x, t, label = inputs()
    assert torch.equal(model(x, t, label=label), model(x, t, label=label))
    model.train()
    assert not torch.equal(model(x, t, label=label), model(x, t, label=label))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_adm_imagenet64_has_the_papers_size():
    with torch.device("meta"):
        model = UNet(
            spec(3, 64, 64, conditions={"label": Condition(1000)}),
            width=192,
            multipliers=(1, 2, 3, 4),
            blocks=3,
            attention=(32, 16, 8),
            head_width=64,
            out_channels=6,
        )
    # 296 M in 2105.05233; ours has one more class vector, the null one.
    assert count(model) - 4 * 192 == 295_904_454


def ddpm(shape=(2, 8, 12), **options) -> DDPMPlusPlus:
    defaults = {"width": 8, "multipliers": (1, 2), "blocks": 2, "attention": (4,)}
    return DDPMPlusPlus(spec(*shape, conditions=LABELS), **{**defaults, **options})


def test_ddpm_plus_plus_halves_every_sum():
    """At the start blocks are their skip; each sum is divided by the root of 2, and attention is one more."""
    model, context = ddpm().double(), torch.zeros(3, 32, dtype=torch.float64)
    x = torch.randn(3, 8, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(model.down[0](x, context), x / 2**0.5)
    wide = torch.cat([x, x], 1)
    assert torch.allclose(model.middle[0](wide, context), wide / 2)
    assert torch.allclose(model.middle[1](wide, context), wide / 2**0.5)
    assert model(x[:, :2], torch.zeros(3, dtype=torch.float64)).abs().max() == 0


def test_ddpm_plus_plus_attends_in_every_block_down_and_in_the_last_up():
    model = ddpm((1, 16, 16), attention=(8,))
    attends = [[block.attention is not None for block in way] for way in (model.down, model.middle, model.up)]
    assert attends == [[False] * 3 + [True] * 2, [True, False], [False, False, True] + [False] * 4]
    with pytest.raises(IncompatibleError, match="9 x 9 is not divisible by 2"):
        ddpm((1, 9, 9))


def test_ddpm_plus_plus_has_edms_size():
    with torch.device("meta"):
        model = DDPMPlusPlus(spec(3, 32, 32, conditions={}))
    # 55,733,891 in 2206.00364's release, with a layer for 9 labels of augmentation.
    assert count(model) == 55_733_891 - 9 * 128


@pytest.mark.parametrize(("size", "millions"), [("S", 33), ("B", 130), ("L", 458), ("XL", 675)])
def test_dit_sizes_are_the_papers(size, millions):
    data = spec(4, 32, 32, conditions={"label": Condition(1000)})
    with torch.device("meta"):
        model = DiT(data, size, 2, out_channels=8)
        assert model(torch.zeros(1, 4, 32, 32), torch.zeros(1)).shape == (1, 8, 32, 32)
    assert round(count(model) / 1e6) == millions


def test_dit_xl_2_exactly():
    data = spec(4, 32, 32, conditions={"label": Condition(1000)})
    with torch.device("meta"):
        paper, ours = DiT(data, "XL", 2, out_channels=8), DiT(data, "XL", 2)
    # The released checkpoint counts its fixed positions as parameters.
    assert count(paper) + paper.positions.numel() == 675_129_632
    assert count(ours) == 674_816_272


def test_dit_refuses_partial_patches_and_unknown_sizes():
    with pytest.raises(IncompatibleError, match="not divisible by patch 5"):
        dit(patch=5)
    with pytest.raises(ValueError, match="S, B, L, XL"):
        dit(size="M")


@pytest.mark.parametrize("patch", [2, 4])
def test_patches_go_back_where_they_came_from(patch):
    model = dit(patch=patch)
    g = model.grid
    image = torch.arange(2 * 8 * 12.0).view(1, 2, 8, 12)
    cut = image.view(1, 2, g[0], patch, g[1], patch).permute(0, 2, 4, 3, 5, 1).reshape(1, g[0] * g[1], -1)
    assert torch.equal(model._to_image(cut), image)
    # Tokens run row by row, as positions do.
    weight = torch.zeros_like(model.to_tokens.weight)
    weight[0, 0, 0, 0] = 1
    model.to_tokens.weight.data, model.to_tokens.bias.data = weight, torch.zeros(16)
    assert torch.equal(model.to_tokens(image).flatten(2)[0, 0], cut[0, :, 0])


def test_positions_tell_rows_from_columns():
    positions = sincos_positions(3, 5, 16).view(3, 5, 16)
    assert torch.equal(positions[:, 0, :8], positions[:, 4, :8])
    assert torch.equal(positions[0, :, 8:], positions[2, :, 8:])
    assert len({tuple(p) for p in positions.view(15, 16).tolist()}) == 15
    torch.testing.assert_close(positions[2, 3, 0], torch.tensor(2.0).sin())
    torch.testing.assert_close(positions[2, 3, 12], torch.tensor(3.0).cos())


def test_a_dit_critic_judges_every_row_by_image_label_and_time():
    draws = torch.Generator().manual_seed(0)
    data = spec(1, 8, 8, conditions={"label": Condition(3)})
    torch.manual_seed(0)
    critic = DiTCritic(data, width=32, depth=2, heads=2)
    for block in critic.body.blocks:
        nn.init.normal_(block.steer.weight, std=0.1)
    x, t = torch.randn(4, 1, 8, 8, generator=draws, requires_grad=True), torch.rand(4, generator=draws)
    label = torch.tensor([0, 1, 2, 0])
    logits = critic(x, t, label=label)
    assert logits.shape == (4,)
    (grad,) = torch.autograd.grad(logits[1], x, retain_graph=True)
    assert bool((grad[1] != 0).any())
    assert not bool(grad[[0, 2, 3]].any())
    assert not torch.allclose(logits, critic(x, t, label=label.roll(1)))
    assert not torch.allclose(logits, critic(x, 1 - t, label=label))
    # Every parameter takes part.
    grads = torch.autograd.grad(logits.sum(), list(critic.parameters()), allow_unused=True)
    unused = [n for (n, _), g in zip(critic.named_parameters(), grads, strict=True) if g is None]
    assert all(".null." in name for name in unused), unused


def test_an_untimed_dit_reads_no_time():
    draws = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    data = spec(1, 8, 8)
    model = DiT(data, width=32, depth=1, heads=2, timed=False)
    nn.init.normal_(model.head.weight, std=0.1)
    x = torch.randn(2, 1, 8, 8, generator=draws)
    assert torch.equal(model(x, torch.zeros(2)), model(x, torch.ones(2)))
    assert not any("time" in name for name, _ in model.named_parameters())
